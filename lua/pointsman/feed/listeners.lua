-- Takes a worker out of those that accept connections, so that it can do
-- something else without a request that waits. For init_worker_by_lua.
--
-- It is what nginx itself does when a worker shuts down gracefully: a function
-- of nginx's core closes the worker's own descriptors of the sockets at which
-- all workers listen. (OpenResty has a process of that kind, the privileged
-- agent, by a patch of the core.)

local ffi = require("ffi")
local process = require("ngx.process")

local C = ffi.C
local new = ffi.new
local pcall = pcall

-- Linux's numbers on these processors.
local KNOWN = { x64 = true, x86 = true, arm = true, arm64 = true }
local SOL_SOCKET, SO_REUSEPORT = 1, 15
-- Sockets to listen at are among the first descriptors: the master opens them.
local MAX_DESCRIPTOR = 16384

ffi.cdef [[
extern void *pointsman_cycle __asm__("ngx_cycle");
void pointsman_close_listening(void *cycle)
    __asm__("ngx_close_listening_sockets");
int pointsman_getsockopt(int fd, int level, int name, int *value,
                         unsigned int *size) __asm__("getsockopt");
]]


-- Whether a socket is one of several at its address. The kernel then goes on
-- handing connections to the one of this worker, which other workers hold open,
-- too, and nobody would accept them.
local function is_one_of_several()
    local value, size = new("int[1]"), new("unsigned int[1]")
    for fd = 0, MAX_DESCRIPTOR do
        size[0] = ffi.sizeof(value)
        if C.pointsman_getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, value,
                                  size) == 0 and value[0] ~= 0 then
            return true
        end
    end
    return false
end


local _M = {}


-- syntax: ok, err = listeners.close()
-- Failing, it leaves all as it was. What was accepted before is served.
function _M.close()
    if process.type() ~= "worker" then
        return nil, "master_process is off: there is only one process"
    elseif ngx.worker.count() < 2 then
        return nil, "there is no other worker: set worker_processes"
    elseif ffi.os ~= "Linux" or not KNOWN[ffi.arch] then
        return nil, "it is for Linux on x86 and ARM only"
    elseif is_one_of_several() then
        return nil, "a listen directive has the parameter reuseport (where it "
                    .. "was taken out, nginx must be started anew)"
    end
    local ok, err = pcall(function()
        C.pointsman_close_listening(C.pointsman_cycle)
    end)
    if not ok then
        return nil, "nginx does not let it: " .. err
    end
    return true
end


return _M
