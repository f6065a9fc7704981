-- Sticky sessions: a cookie of ours names an instance by a token that only
-- edges of the same registry can make. It tells a client nothing about
-- addresses or names, and one cannot be made up for an instance that the client
-- was not sent to. For phases that have a request; the cookie is set in
-- header_filter_by_lua.
--
-- Apps that share a host must not share a cookie: each one's is then called
-- <name>-<tag>, with a tag of the app. Both names are read, wherever they were
-- set, since a token fits only one app. So sessions outlive a change of the
-- host's rules.

local dicts = require("pointsman.cache.dicts")
local view = require("pointsman.request.view")

local ngx_resp = require("ngx.resp")

local add_header = ngx_resp.add_header
local cookie_of = view.cookie
local dict_get = dicts.get
local encode_base64 = ngx.encode_base64
local find = string.find
local format = string.format
local gsub = string.gsub
local hmac_sha1 = ngx.hmac_sha1
local ipairs = ipairs
local ngx = ngx
local pairs = pairs
local sub = string.sub
local type = type

-- 132 bits of the 160, in base64's letters for URLs.
local TOKEN_LENGTH = 22
local TAG_LENGTH = 8
local URL_SAFE = { ["+"] = "-", ["/"] = "_", ["="] = "" }
local SAME_SITE = { lax = "Lax", strict = "Strict", none = "None" }

local given_secret
-- What `is_token` asks: a closure for each request would be garbage.
local is_usable


-- The epoch is a random UUID that no client ever sees, and is the same for all
-- edges.
local function secret()
    return given_secret or dict_get("epoch")
end


local function token_of(key, app, id)
    local digest = encode_base64(hmac_sha1(key, app .. "/" .. id))
    return sub((gsub(digest, "[+/=]", URL_SAFE)), 1, TOKEN_LENGTH)
end


-- The cookie's name where the app shares a host. No instance has an empty id.
local function tagged_name(app)
    local key = secret()
    if not key then
        return nil
    end
    local sticky, tagged = app.policy.sticky, app.tagged
    if not tagged or tagged.key ~= key or tagged.sticky ~= sticky then
        local tag = sub(token_of(key, app.name, ""), 1, TAG_LENGTH)
        tagged = { key = key, sticky = sticky,
                   name = sticky.cookie .. "-" .. tag }
        app.tagged = tagged
    end
    return tagged.name
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


-- Whether a cookie's value names an instance (that may be used).
local function is_token(value, peer_of)
    local peer = peer_of[value]
    return peer and (not is_usable or is_usable(peer)) or false
end


local function is_equal(value, other)
    return value == other
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


-- Whether another app of the host would set a cookie of the same name.
local function is_shared(app, apps)
    local name = app.policy.sticky.cookie
    for _, other in pairs(apps or {}) do
        local sticky = other ~= app and other.policy.sticky
        if sticky and sticky.cookie == name then
            return true
        end
    end
    return false
end


local function set(name, value, sticky, age)
    local secure = sticky.same_site == "none" or view.scheme() == "https"
    add_header("Set-Cookie", name .. "=" .. value
               .. "; Path=" .. (sticky.path or "/")
               .. (age and format("; Max-Age=%.0f", age) or "")
               .. "; HttpOnly; SameSite="
               .. SAME_SITE[sticky.same_site or "lax"]
               .. (secure and "; Secure" or ""))
end


-- Removes the client's cookies that name an instance of this app.
local function end_session(app)
    local sticky, tokens = app.policy.sticky, tokens_of(app)
    for _, name in ipairs { tagged_name(app), sticky.cookie } do
        if cookie_of(name, is_token, tokens.peer_of) then
            set(name, "", sticky, 0)
        end
    end
end


local _M = {}


-- syntax: sticky.init(settings)
-- In init_worker_by_lua.
function _M.init(settings)
    given_secret = settings.secret
end


-- syntax: peer = sticky.find(app, usable?)
-- The instance that the request's cookie names and for which `usable(peer)` is
-- true, without `usable` whatever its state; nil if there is none (any more),
-- or the app's own cookie is not there.
function _M.find(app, usable)
    local sticky, tagged = app.policy.sticky, tagged_name(app)
    if sticky.with and not cookie_of(sticky.with) or not tagged
            or not (cookie_of(tagged) or cookie_of(sticky.cookie)) then
        return nil
    end
    local peer_of = tokens_of(app).peer_of
    is_usable = usable
    local token = cookie_of(tagged, is_token, peer_of)
                  or cookie_of(sticky.cookie, is_token, peer_of)
    is_usable = nil
    return token and peer_of[token]
end


-- syntax: name = sticky.app_of(targets, apps, usable)
-- The side of a split on which the request's session is: the first of the
-- targets whose instance it names. Nil if there is none, or that app cannot be
-- used (`usable(name)` is false; a draining instance may keep its sessions). To
-- be passed to rules.target.
function _M.app_of(targets, apps, usable)
    for i = 1, #targets do
        local name = targets[i].app
        local app = apps[name]
        local sticky = app and app.policy.sticky
        local peer = sticky and _M.find(app)
        if peer and (usable(name)
                     or sticky.drain == "keep" and not peer.down) then
            return name
        end
    end
    return nil
end


-- syntax: sticky.tell(record)
-- In header_filter_by_lua, with the app's own answer: sets the cookie, if the
-- client does not have it. `record` has `app` and `peer`; on a host with rules
-- also `rule`, with `apps`, all apps of the host.
function _M.tell(record)
    local app, rule = record.app, record.rule
    local apps = rule and rule.apps
    local sticky, tokens = app.policy.sticky, tokens_of(app)
    local token = tokens and tokens.by_id[record.peer.id]
    if not token then
        return
    end
    local with, tagged = sticky.with, tagged_name(app)
    local is_begun = not with or cookie_of(with) ~= nil
    if is_begun and (cookie_of(tagged, is_equal, token)
                     or cookie_of(sticky.cookie, is_equal, token)) then
        return
    end
    -- A session that moves is told of at once; one that begins, when the app
    -- begins it.
    local has_tagged = cookie_of(tagged) ~= nil
    if with and not is_set(with)
            and not (is_begun and (has_tagged or cookie_of(sticky.cookie))) then
        return
    end
    local name = (has_tagged or is_shared(app, apps)) and tagged
                 or sticky.cookie
    set(name, token, sticky, sticky.ttl)

    -- It has one side of a split only: another one's cookie would take it back
    -- there when the weights change.
    for _, side in ipairs(rule and rule.split.apps or {}) do
        local other = apps[side]
        if other and other ~= app and other.policy.sticky then
            end_session(other)
        end
    end
end


return _M
