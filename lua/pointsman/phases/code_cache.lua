-- Refuses `lua_code_cache off`: each request would then get a Lua machine of
-- its own, in which no worker has been initialised. For init_by_lua and
-- init_worker_by_lua.
--
-- Lua has no function that tells. nginx's list of the module's directives says
-- where a location's configuration has the value of this one; all that is read
-- here is nginx's interface for modules.

local ffi = require("ffi")

local cast = ffi.cast
local ffi_string = ffi.string
local get_phase = ngx.get_phase
local pcall = pcall
local tonumber = tonumber

local MISTAKE = "lua_code_cache must not be off in nginx's configuration: "
                .. "Pointsman's workers keep their state in Lua"
local PROCESS_WORKER = 3

ffi.cdef [[
typedef struct {
    size_t len;
    const char *data;
} pointsman_ngx_str_t;

typedef struct {
    pointsman_ngx_str_t name;
    uintptr_t type;
    void *set;
    uintptr_t conf;
    uintptr_t offset;
    void *post;
} pointsman_ngx_command_t;

typedef struct {
    uintptr_t ctx_index;
    uintptr_t index;
    char *name;
    uintptr_t spare0;
    uintptr_t spare1;
    uintptr_t version;
    const char *signature;
    void *ctx;
    pointsman_ngx_command_t *commands;
} pointsman_ngx_module_t;

typedef struct {
    void **main_conf;
    void **srv_conf;
    char **loc_conf;
} pointsman_ngx_http_conf_ctx_t;

typedef struct {
    pointsman_ngx_http_conf_ctx_t **conf_ctx;
} pointsman_ngx_cycle_t;

extern uintptr_t pointsman_ngx_process __asm__("ngx_process");
extern pointsman_ngx_cycle_t *pointsman_ngx_cycle __asm__("ngx_cycle");
extern pointsman_ngx_module_t pointsman_ngx_http_module
    __asm__("ngx_http_module");
extern pointsman_ngx_module_t pointsman_ngx_http_lua_module
    __asm__("ngx_http_lua_module");
]]

local C = ffi.C


local function find_command(module, name)
    local command = module.commands
    while command.name.len > 0 do
        if ffi_string(command.name.data, command.name.len) == name then
            return command
        end
        command = command + 1
    end
    return nil
end


-- The value at http level: 0 if it is off.
local function read_value()
    local http, lua = C.pointsman_ngx_http_module,
                      C.pointsman_ngx_http_lua_module
    local command = find_command(lua, "lua_code_cache")
    local conf_ctx = C.pointsman_ngx_cycle.conf_ctx
    if not command or conf_ctx == nil then
        return nil
    end
    local all = conf_ctx[tonumber(http.index)]
    local conf = all ~= nil and all.loc_conf[tonumber(lua.ctx_index)]
    return conf and tonumber(cast("intptr_t *", conf + command.offset)[0])
end


local _M = {}


-- syntax: mistake = code_cache.check()
-- The second half is for a server or location with the directive: init_by_lua
-- runs in a worker only for the Lua machine of one request.
function _M.check()
    local ok, value = pcall(read_value)
    if ok and value == 0 then
        return MISTAKE
    end
    local process
    ok, process = pcall(function() return C.pointsman_ngx_process end)
    if ok and process == PROCESS_WORKER and get_phase() == "init" then
        return MISTAKE
    end
    return nil
end


return _M
