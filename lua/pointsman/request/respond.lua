-- Answers that the edge gives itself. For the rewrite phase; the balancer phase
-- can only tell the reason.
--
-- An error is shown by the user's error_page for its status, otherwise by
-- nginx's own page, always with X-Pointsman-Error. A subrequest gets a line of
-- text: an error_page that makes 200 of a 404 must not make auth_request grant
-- access.

local metrics = require("pointsman.metrics")
local variables = require("pointsman.request.variables")

local counts = metrics.counts
local find = string.find
local is_subrequest = variables.is_subrequest
local ngx = ngx
local sub = string.sub
local var = ngx.var

local BAD_REQUEST, NO_ROUTE, UNAVAILABLE = 400, 404, 503
-- https://grpc.github.io/grpc/core/md_doc_statuscodes.html: UNIMPLEMENTED,
-- UNAVAILABLE, and INTERNAL, which HTTP's 400 stands for.
local GRPC_STATUS = { [BAD_REQUEST] = 13, [NO_ROUTE] = 12, [UNAVAILABLE] = 14 }
local GRPC_TYPE = "application/grpc"

-- `retry_after` in seconds. With `is_text` the message is the page: who asks
-- for an instance by name is no user of the app, but somebody who debugs it.
local REASONS = {
    bad_host = { status = BAD_REQUEST, message = "the Host header is bad" },
    ambiguous_path = {
        status = BAD_REQUEST,
        message = "the path could be read in two ways",
    },
    no_route = { status = NO_ROUTE, message = "no route for this host" },
    no_instance = {
        status = UNAVAILABLE, message = "no live instance of this app",
    },
    unavailable = {
        status = UNAVAILABLE, retry_after = 1,
        message = "the routing table is not available",
    },
    busy = {
        status = UNAVAILABLE, message = "too many unknown hosts at once",
        retry_after = 1,
    },
    overloaded = {
        status = UNAVAILABLE, retry_after = 1,
        message = "all instances of this app are at their limit",
    },
    paused = {
        status = UNAVAILABLE, retry_after = 1, message = "this host is paused",
    },
    no_such_instance = {
        status = UNAVAILABLE, message = "this app has no such instance",
        is_text = true,
    },
}


local function is_grpc()
    local content_type = var.content_type
    if content_type and sub(content_type, 1, #GRPC_TYPE) == GRPC_TYPE then
        return true
    end
    local accept = var.http_accept
    return accept ~= nil and find(accept, GRPC_TYPE, 1, true) ~= nil
end


-- "Trailers-Only" of gRPC over HTTP/2: a response that is nothing but headers.
local function fail_grpc(answer)
    ngx.status = 200
    ngx.header["Content-Type"] = GRPC_TYPE
    ngx.header["Content-Length"] = 0
    ngx.header["grpc-status"] = GRPC_STATUS[answer.status]
    ngx.header["grpc-message"] = answer.message
    ngx.send_headers()
    return ngx.exit(200)
end


local function say(status, text, content_type)
    ngx.status = status
    ngx.header["Content-Type"] = content_type or "text/plain; charset=utf-8"
    ngx.print(text)
    return ngx.exit(200)
end


local _M = {}


-- syntax: status = respond.status(reason)
function _M.status(reason)
    return REASONS[reason].status
end


-- syntax: respond.tell(reason, retry_after?)
-- For whatever error is answered then. `retry_after` in seconds, where it is
-- not that of the reason.
function _M.tell(reason, retry_after)
    local name = "errors_" .. reason
    counts[name] = counts[name] + 1
    if not is_subrequest() then
        var.pointsman_error = reason
    end
    ngx.header["X-Pointsman-Error"] = reason
    ngx.header["Retry-After"] = retry_after or REASONS[reason].retry_after
end


-- syntax: return respond.fail(reason, retry_after?)
function _M.fail(reason, retry_after)
    local answer = REASONS[reason]
    _M.tell(reason, retry_after)
    -- First: a subrequest has its client's headers.
    if is_subrequest() or answer.is_text then
        return say(answer.status, answer.message .. "\n")
    elseif is_grpc() then
        return fail_grpc(answer)
    end
    return ngx.exit(answer.status)
end


-- syntax: return respond.maintenance(answer)
-- What a rule says, so no error page of the user's stands in for it.
function _M.maintenance(answer)
    if not is_subrequest() then
        var.pointsman_error = "maintenance"
    end
    ngx.header["X-Pointsman-Error"] = "maintenance"
    ngx.header["Retry-After"] = answer.retry_after_s
    return say(UNAVAILABLE, answer.body or "down for maintenance\n",
               answer.content_type)
end


return _M
