-- Records: from Redis's JSON to tables, and to and from the cache's text form.
-- Pure Lua, for all phases; the caller hands in the JSON decoder.
--
-- Two forms of a record meet here. What an agent wrote is JSON, and is judged
-- in full: anyone may have written to that Redis, and an address taken from it
-- ends in connect(). What lies in the shared dict is text of our own. Plain
-- routes and apps, that is nearly all, have no JSON in it; the others have
-- theirs, which is decoded when they are read from the shared dict.
--
-- This is the facade. codec/route.lua, policy.lua and instance.lua judge
-- records, pack.lua has the text form, check.lua and address.lua say what
-- values may be.

local instance = require("pointsman.codec.instance")
local lines = require("pointsman.codec.lines")
local pack = require("pointsman.codec.pack")
local policy = require("pointsman.codec.policy")
local route = require("pointsman.codec.route")
local sheets = require("pointsman.codec.sheets")


local _M = {}


-- syntax: route, err = codec.route(json, raw)
-- route = { rev =, deeper =, rules =, plain = }, the rules as the record has
-- them. `json(raw)` returns a value, or nil and an error, as cjson.safe.decode
-- does.
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
-- An instance as codec.edit_app and codec.edit_sheets take it.
_M.line = lines.from


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
-- this returned for an older text of the app, all is taken that is the same. It
-- may be changed: what is returned takes its place.
_M.unpack_app = pack.read_app


-- syntax: text, err = codec.edit_app(text, policy?, edits, asof, v)
-- The text of pack_app with another policy, if one is given, and with other
-- instances: edits = { [id] = line, or false for one that is gone }. Without
-- reading the app: it costs a look for each edit, and a copy.
_M.edit_app = pack.edit_app


-- syntax: text, list = codec.cut_app(text, next_number)
-- A large app's text as a list of sheets, and these; nil if it is not large. A
-- sheet = { number =, text = } is kept under its number, which `next_number()`
-- gives, and never changed: so who has read it need not read it again.
_M.cut_app = sheets.cut


-- syntax: yes = codec.is_list(text)
_M.is_list = sheets.is_list


-- syntax: numbers = codec.sheet_numbers(text)
_M.sheet_numbers = sheets.numbers


-- syntax: text, made, gone, is_reshaped =
--             codec.edit_sheets(text, get, next_number, policy?, edits, asof,
--                               v, pause?)
-- As edit_app; `get(number)` returns the text of a sheet. The new sheets, and
-- the numbers of those whose place they take; and whether more has changed than
-- these numbers. nil and an error if one cannot be had.
_M.edit_sheets = sheets.edit


-- syntax: app, asof, v, count, is_whole =
--             codec.unpack_sheets(text, get, json, before?, limit?, wanted?)
-- As unpack_app, but that the instances are in app.sheets = { { number =, first
-- = id of the first, n =, live = { number, ... }, weight = }, ... }, where
-- sheet:peer(number) is one of them; and how many of these sheets were read. No
-- more than `limit` and what takes the place of the sheet `wanted`, if that
-- will do for now: then `is_whole` is false. It nearly always will if the
-- caller has set before.parted: no list is made of all instances.
_M.unpack_sheets = sheets.read


-- syntax: app = codec.renew_sheet(app, place, text, number)
-- What unpack_sheets returned, with a sheet that has taken the place of another
-- one: the same one where that makes no difference to a round over sheets
-- (before.parted). Nil if this is the text of a sheet from elsewhere.
_M.renew_sheet = sheets.renew


-- syntax: peers = codec.peers_of(app)
-- The instances of what unpack_app or unpack_sheets returned, sorted by id.
function _M.peers_of(app)
    return app.peers or sheets.peers(app)
end


-- syntax: text = codec.pack_negative(asof, v)
_M.pack_negative = pack.negative


-- syntax: asof, v = codec.unpack_negative(text)
-- nil and an error for a text that pack_negative did not make.
_M.unpack_negative = pack.read_negative


-- syntax: asof, v = codec.stamp(text)
-- As of which revision a text of any kind is, and of which revalidation.
_M.stamp = pack.stamp


return _M
