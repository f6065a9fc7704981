-- The header filter phase of the named locations: response headers of a rule,
-- and the cookie of a sticky session. For header_filter_by_lua.

local headers = require("pointsman.request.headers")
local records = require("pointsman.request.record")
local sticky = require("pointsman.request.sticky")

local find = string.find
local ngx = ngx
local var = ngx.var


local _M = {}


-- syntax: header_filter.run()
function _M.run()
    local record = records.current()
    local app, rule = record.app, record.rule
    if not app then
        return
    end
    if rule and rule.response_headers then
        headers.edit_response(rule.response_headers)
    end
    -- Not with nginx's own errors, which no instance has sent.
    if app.policy.sticky and record.peer and not record.pin
            and find(var.upstream_header_time or "", "%d$") then
        sticky.tell(record)
    end
end


return _M
