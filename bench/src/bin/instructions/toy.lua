-- What Pointsman is compared with: the least that a balancer in Lua can do.

local balancer = require("ngx.balancer")

local get_last_failure = balancer.get_last_failure
local set_current_peer = balancer.set_current_peer
local set_more_tries = balancer.set_more_tries
local var = ngx.var

local apps = {}
local first
local answered = 0

local _M = {}


-- syntax: toy.init(host, addrs)
function _M.init(host, addrs)
    apps[host] = { addrs = addrs, at = 0 }
    first = addrs[1]
end


-- The call that no balancer can do without, and no other.
function _M.floor()
    set_current_peer(first[1], first[2])
end


function _M.route()
    if not apps[var.host] then
        return ngx.exit(404)
    end
end


function _M.run()
    if get_last_failure() then
        return ngx.exit(-3)
    end
    local app = apps[var.host]
    local at = app.at < #app.addrs and app.at + 1 or 1
    app.at = at
    set_more_tries(1)
    set_current_peer(app.addrs[at][1], app.addrs[at][2])
end


function _M.log()
    answered = answered + 1
end


return _M
