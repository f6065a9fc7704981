-- Records: from Redis's JSON to tables, and to and from the cache's text form.
-- Pure Lua, for all phases; the caller hands in the JSON decoder.
--
-- Two forms of a record meet here. What an agent wrote is JSON, and is judged
-- in full: anyone may have written to that Redis, and an address taken from it
-- ends in connect(). What lies in the shared dict is text of our own.
--
-- This is the facade. codec/route.lua, policy.lua and instance.lua judge
-- records, pack.lua has the text form, check.lua and address.lua say what
-- values may be.

local instance = require("pointsman.codec.instance")
local pack = require("pointsman.codec.pack")
local policy = require("pointsman.codec.policy")
local route = require("pointsman.codec.route")


local _M = {}


-- syntax: route, err = codec.route(json, raw)
-- route = { rev =, deeper =, rules =, plain =, pause = { max = }, ignored = },
-- the rules as the record has them. `ignored`: what is wrong with a field that
-- the record is used without; `pause`, or `wake` of a policy. `json(raw)`
-- returns a value, or nil and an error, as cjson.safe.decode does.
--
-- `plain`: all requests go to one app as they are; nothing of a rule but
-- rules[1].to[1].app need be looked at.
_M.route = route.read


-- syntax: policy, err = codec.policy(json, raw?, default_raw?)
-- The fields as the record has them, durations in seconds without the `_ms` of
-- their names, fail_on as a set; what is not there reads as its default. An app
-- that has no record of its own has `default_raw`, that of `app:*`, if there is
-- one.
--
-- `plain`: a round over all live instances, and nothing else that concerns how
-- an instance is picked or how nginx talks to it.
_M.policy = policy.read


-- syntax: peer, err = codec.instance(json, id, raw)
-- peer = { id =, rev =, addr =, host =, port =, weight =, zone =, draining =,
-- down = }; an IPv6 host keeps its brackets.
_M.instance = instance.read


-- syntax: line, err = codec.line(json, id, raw)
-- An instance as codec.edit_app takes it.
function _M.line(json, id, raw)
    local peer, err = instance.read(json, id, raw)
    if not peer then
        return nil, err
    end
    return instance.line(peer)
end


-- syntax: peers = codec.sort_peers(peers)
-- The order that pickers and pack_app rely on: by id, bytewise.
_M.sort_peers = instance.sort


-- syntax: text = codec.pack_route(route, asof, v)
_M.pack_route = pack.route


-- syntax: route, asof, v = codec.unpack_route(text, json)
-- nil and an error for a text that pack_route did not make.
_M.unpack_route = pack.read_route


-- syntax: text = codec.pack_app(app, asof, v)
-- app = { name =, policy =, peers = { peer, ... } }, the peers sorted by id.
_M.pack_app = pack.app


-- syntax: app, asof, v = codec.unpack_app(text, json, before?)
-- nil and an error for a text that pack_app did not make. Of `before`, what
-- this returned for an older text of the app, all is taken that is the same; it
-- is `before` itself if nothing has changed.
_M.unpack_app = pack.read_app


-- syntax: text, err = codec.edit_app(text, policy?, edits, asof, v)
-- The text of pack_app with another policy, if one is given, and with other
-- instances: edits = { [id] = line, or false for one that is gone }.
_M.edit_app = pack.edit_app


-- syntax: yes = codec.is_empty(text)
-- Whether an app's text has no instance.
_M.is_empty = pack.is_empty


-- syntax: text = codec.pack_negative(asof, v)
_M.pack_negative = pack.negative


-- syntax: asof, v = codec.stamp(text)
-- As of which revision a text of any kind is, and of which revalidation.
-- Nothing for what is none of these texts.
_M.stamp = pack.stamp


return _M
