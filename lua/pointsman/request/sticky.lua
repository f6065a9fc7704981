-- Sticky sessions: a cookie of ours names an instance by a token that only
-- edges of the same registry can make. It tells a client nothing about
-- addresses or names, and one cannot be made up for an instance that the client
-- was not sent to. For phases that have a request; the cookie is set in
-- header_filter_by_lua.

local dicts = require("pointsman.cache.dicts")

local ngx_resp = require("ngx.resp")

local add_header = ngx_resp.add_header
local dict_get = dicts.get
local encode_base64 = ngx.encode_base64
local find = string.find
local format = string.format
local gsub = string.gsub
local hmac_sha1 = ngx.hmac_sha1
local ipairs = ipairs
local ngx = ngx
local sub = string.sub
local type = type
local var = ngx.var

-- 132 bits of the 160, in base64's letters for URLs.
local TOKEN_LENGTH = 22
local URL_SAFE = { ["+"] = "-", ["/"] = "_", ["="] = "" }

local given_secret


-- The epoch is a random UUID that no client ever sees, and is the same for all
-- edges.
local function secret()
    return given_secret or dict_get("epoch")
end


local function token_of(key, app, id)
    local digest = encode_base64(hmac_sha1(key, app .. "/" .. id))
    return sub((gsub(digest, "[+/=]", URL_SAFE)), 1, TOKEN_LENGTH)
end


-- The tokens of an app's instances; made once for each instance.
local function tokens_of(app)
    local key = secret()
    if not key then
        return nil
    end
    local tokens = app.tokens
    if tokens and tokens.key == key and tokens.peers == app.peers then
        return tokens
    end

    local old = tokens and tokens.key == key and tokens.by_id or {}
    local by_id, peer_of = {}, {}
    for _, peer in ipairs(app.peers) do
        local token = old[peer.id] or token_of(key, app.name, peer.id)
        by_id[peer.id], peer_of[token] = token, peer
    end
    tokens = { key = key, peers = app.peers, by_id = by_id, peer_of = peer_of }
    app.tokens = tokens
    return tokens
end


-- Whether the app's answer sets a cookie of this name.
local function is_set(name)
    local cookies = ngx.header["Set-Cookie"]
    if type(cookies) == "string" then
        cookies = { cookies }
    end
    for _, cookie in ipairs(cookies or {}) do
        if find(cookie, name .. "=", 1, true) == 1 then
            return true
        end
    end
    return false
end


local _M = {}


-- syntax: sticky.init(settings)
-- In init_worker_by_lua.
function _M.init(settings)
    given_secret = settings.secret
end


-- syntax: peer = sticky.find(app)
-- The instance that the request's cookie names, whatever its state; nil if
-- there is none (any more), or the app's own cookie is not there.
function _M.find(app)
    local sticky = app.policy.sticky
    if sticky.with and not var["cookie_" .. sticky.with] then
        return nil
    end
    local token = var["cookie_" .. sticky.cookie]
    local tokens = token and tokens_of(app)
    return tokens and tokens.peer_of[token]
end


-- syntax: sticky.tell(app, peer)
-- In header_filter_by_lua: sets the cookie.
function _M.tell(app, peer)
    local sticky = app.policy.sticky
    local tokens = tokens_of(app)
    local token = tokens and tokens.by_id[peer.id]
    if not token then
        return
    end
    -- A session that moves is told of at once; one that begins, when the app
    -- begins it.
    local with = sticky.with
    if with and not is_set(with) and not (var["cookie_" .. with]
            and var["cookie_" .. sticky.cookie]) then
        return
    end
    local secure = var.scheme == "https"
                   or var.http_x_forwarded_proto == "https"
    local age = sticky.ttl
                and format("; Max-Age=%.0f", sticky.ttl) or ""
    add_header("Set-Cookie", sticky.cookie .. "=" .. token .. "; Path=/"
               .. age .. "; HttpOnly; SameSite=Lax"
               .. (secure and "; Secure" or ""))
end


return _M
