-- Errors that Pointsman itself answers, and how they reach the client.
--
-- They are raised in a named location that has no error_page of its own, so
-- that the user's error pages are in force there. If there is none for the
-- status, nginx makes its own page, and two filters turn that into plain text.

local ngx = ngx

local REASONS = {
    no_route = { status = 404, text = "no route for this host\n" },
    no_instance = { status = 503, text = "no live instance of this app\n" },
    unavailable = {
        status = 503, text = "the routing table is not available\n",
        retry_after = 1,
    },
    busy = {
        status = 503, text = "too many unknown hosts at once\n",
        retry_after = 1,
    },
    overloaded = {
        status = 503, text = "all instances of this app are at their limit\n",
        retry_after = 1,
    },
    no_such_instance = {
        status = 503, text = "this app has no such instance\n",
    },
}
local UNKNOWN = REASONS.unavailable


-- nil if the user's error_page has made something else of it: a redirect.
local function own_answer()
    local answer = REASONS[ngx.var.pointsman_why] or UNKNOWN
    return ngx.status == answer.status and answer or nil
end


local _M = {}


-- syntax: respond.fail(reason)
-- In access_by_lua; does not return.
function _M.fail(reason)
    ngx.var.pointsman_why = reason
    return ngx.exec("@pointsman_error")
end


-- syntax: respond.maintenance(answer)
-- In access_by_lua; does not return. What a rule says itself, so no error page
-- of the user's stands in for it.
function _M.maintenance(answer)
    ngx.var.pointsman_why = "maintenance"
    ngx.status = 503
    ngx.header["X-Pointsman-Error"] = "maintenance"
    ngx.header["Retry-After"] = answer.retry_after_s
    ngx.header["Content-Type"] = answer.content_type
                                 or "text/plain; charset=utf-8"
    ngx.print(answer.body or "down for maintenance\n")
    return ngx.exit(ngx.HTTP_OK)
end


-- syntax: respond.access()
-- access_by_lua of that location.
function _M.access()
    local reason = ngx.var.pointsman_why
    local answer = REASONS[reason] or UNKNOWN
    local again = ngx.header["X-Pointsman-Error"]
    ngx.header["X-Pointsman-Error"] = reason
    ngx.header["Retry-After"] = answer.retry_after
    if again then
        -- The user's error page led back to Pointsman, for the same host.
        ngx.status = answer.status
        ngx.print(answer.text)
        return ngx.exit(ngx.HTTP_OK)
    end
    return ngx.exit(answer.status)
end


-- syntax: respond.header()
-- Its header_filter_by_lua.
function _M.header()
    local answer = own_answer()
    if answer then
        ngx.header["Content-Type"] = "text/plain; charset=utf-8"
        ngx.header["Content-Length"] = #answer.text
    end
end


-- syntax: respond.body()
-- Its body_filter_by_lua.
function _M.body()
    local answer = own_answer()
    if answer then
        ngx.arg[1] = ngx.arg[2] and answer.text or nil
    end
end


-- syntax: respond.reraise()
-- access_by_lua and content_by_lua: the status that led here, once more.
function _M.reraise()
    return ngx.exit(ngx.status)
end


return _M
