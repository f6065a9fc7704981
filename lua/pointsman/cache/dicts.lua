-- The shared dicts and what is in them: the one owner of ngx.shared.
-- All phases.
--
--   pointsman_routes, _apps, _negatives   the cache that all workers share (L2)
--   pointsman_state                       counters, stripes, the feed's place
--   pointsman_flights                     requests in flight, by worker

local ffi = require("ffi")

local C = ffi.C
local cast = ffi.cast
local ipairs = ipairs
local max = math.max
local ngx_log = ngx.log
local shared = ngx.shared
local setmetatable = setmetatable
local sub = string.sub
local tonumber = tonumber

-- A dict that is full stays so: one line a minute is enough.
local LOG_SECONDS = 60
local NAMES = {
    "pointsman_routes", "pointsman_apps", "pointsman_negatives",
    "pointsman_state", "pointsman_flights",
}

-- nginx's interface for modules; `addr` is where its allocator begins.
ffi.cdef [[
typedef struct {
    void *data;
    unsigned char *addr;
} pointsman_zone_t;
void *pointsman_zone(void *udata)
    __asm__("ngx_http_lua_ffi_shdict_udata_to_zone");
void *pointsman_slab_calloc(void *pool, size_t size)
    __asm__("ngx_slab_calloc");
]]

local state = shared.pointsman_state


local _Zone = {}
local ZONE = { __index = _Zone }


local function new_zone(name, is_small)
    return setmetatable({
        name = name, dict = shared["pointsman_" .. name], is_small = is_small,
    }, ZONE)
end


local function count(name, by)
    local value, err = state:incr(name, by or 1, 0)
    if not value then
        ngx_log(ngx.ERR, "failed to count ", name, ": ", err)
    end
    return value
end


local function say_full(zone, what, ...)
    if state:safe_add("full_logged_" .. zone.name, 1, LOG_SECONDS) then
        ngx_log(ngx.WARN, "pointsman_", zone.name, " is full: ", what, ...)
    end
end


-- syntax: text = zone:get(key)
function _Zone:get(key)
    return (self.dict:get(key))
end


-- syntax: ok = zone:put(key, text, seconds?)
-- What was not used for longest makes room. Failing, it leaves nothing behind:
-- a dict that is full has by then thrown the old value away, or has not, and a
-- record may be missing but not be old.
function _Zone:put(key, text, seconds)
    local dict = self.dict
    local ok, err, forced = dict:add(key, text, seconds)
    if ok then
        count("entries_" .. self.name)
    elseif err == "exists" then
        ok, err, forced = dict:set(key, text, seconds)
    end
    if forced then
        count("evicted_" .. self.name)
        count("entries_" .. self.name, -1)
    end
    if not ok then
        self:drop(key)
        count("full_" .. self.name)
        say_full(self, "there is no room for ", key, " (", err, "), so Redis ",
                 "is asked for each request; give lua_shared_dict more memory")
        return false
    end
    if forced and self.is_small then
        say_full(self, "records that were not used for longest make room; ",
                 "give lua_shared_dict more memory")
    end
    return true
end


-- syntax: zone:drop(key)
function _Zone:drop(key)
    -- Not by reading it, which would make a string of it.
    if self.dict:ttl(key) then
        self.dict:delete(key)
        count("entries_" .. self.name, -1)
    end
end


-- syntax: t = zone:usage()
-- `entries` is counted, not looked up, and comes out too high once the dict has
-- evicted: nginx tells that it did, not how many.
function _Zone:usage()
    local dict = self.dict
    return {
        capacity = dict:capacity(),
        free = dict:free_space(),
        entries = max(0, state:get("entries_" .. self.name) or 0),
        evicted = state:get("evicted_" .. self.name) or 0,
        full = state:get("full_" .. self.name) or 0,
    }
end


-- Numbers that come and go. What finds no room is not counted, and logged once
-- in a while.
local flights = {}


-- syntax: value = flights.get(key)
function flights.get(key)
    return (shared.pointsman_flights:get(key))
end


-- syntax: flights.set(key, value)
function flights.set(key, value)
    local ok, err = shared.pointsman_flights:safe_set(key, value)
    if not ok then
        ngx_log(ngx.ERR, "failed to store ", key, ": ", err)
    end
end


-- syntax: number = flights.next(key, most)
-- Counts up, from 1 on; nil beyond `most`, or if there is no room.
function flights.next(key, most)
    local dict = shared.pointsman_flights
    dict:safe_add(key, 0)
    if (dict:get(key) or most) < most then
        local number = dict:incr(key, 1)
        if number and number <= most then
            return number
        end
        dict:incr(key, -1)
    end
    return nil
end


-- syntax: flights.push(key, value)
-- Into a list; flights.pop(key) takes the value that has been there longest.
function flights.push(key, value)
    local ok, err = shared.pointsman_flights:rpush(key, value)
    if not ok then
        ngx_log(ngx.ERR, "failed to store in ", key, ": ", err)
    end
end


-- syntax: value = flights.pop(key)
function flights.pop(key)
    return (shared.pointsman_flights:lpop(key))
end


-- syntax: yes = flights.has_none(key)
-- Whether the list is empty.
function flights.has_none(key)
    return shared.pointsman_flights:llen(key) == 0
end


-- syntax: ok = flights.claim(key, value, seconds?)
-- False if somebody else has it.
function flights.claim(key, value, seconds)
    return (shared.pointsman_flights:safe_add(key, value, seconds))
end


-- syntax: flights.drop(key)
function flights.drop(key)
    shared.pointsman_flights:delete(key)
end


-- syntax: flights.add(key, by)
-- What has come down to nothing is removed.
function flights.add(key, by)
    local dict = shared.pointsman_flights
    local value, err = dict:incr(key, by)
    if err == "not found" then
        -- incr with a first value would make room by force: other counts, and
        -- the names of workers, would go.
        local ok
        ok, err = dict:safe_add(key, 0)
        if ok or err == "exists" then
            value, err = dict:incr(key, by)
        end
    end
    if not value then
        if state:safe_add("flights_logged", 1, LOG_SECONDS) then
            ngx_log(ngx.WARN, "failed to count requests in flight: ", err)
        end
    elseif value <= 0 then
        dict:delete(key)
    end
end


-- syntax: flights.drop_all(prefix)
-- All keys that begin so. Slow: for the start of a worker.
function flights.drop_all(prefix)
    local dict = shared.pointsman_flights
    for _, key in ipairs(dict:get_keys(0)) do
        if sub(key, 1, #prefix) == prefix then
            dict:delete(key)
        end
    end
end


-- syntax: address = flights.allocate(bytes)
-- Memory that all workers share, zeroed; nil if there is no room. It is never
-- given back: it lasts as long as the dict, over reloads.
function flights.allocate(bytes)
    local zone = cast("pointsman_zone_t *",
                      C.pointsman_zone(shared.pointsman_flights[1]))
    local memory = C.pointsman_slab_calloc(zone.addr, bytes)
    return memory ~= nil and tonumber(cast("intptr_t", memory)) or nil
end


local _M = {
    flights = flights,
    routes = new_zone("routes"),
    -- There are few enough apps that all in use fit; if they do not, an
    -- operator must know. (Routes and unknown hosts may be any number.)
    apps = new_zone("apps", true),
    negatives = new_zone("negatives"),
    count = count,
}


-- syntax: yes = dicts.are_there()
-- In init_by_lua: dicts that are missing are reported later, by prepare().
function _M.are_there()
    return state ~= nil
end


-- syntax: err = dicts.prepare()
-- In init_worker_by_lua: checks that all dicts are there.
function _M.prepare()
    for i = 1, #NAMES do
        if not shared[NAMES[i]] then
            return "there is no lua_shared_dict " .. NAMES[i]
                   .. ": include pointsman/http.conf at http level"
        end
    end
end


-- syntax: value = dicts.get(name)
function _M.get(name)
    return (state:get(name))
end


-- syntax: value = dicts.peek(name)
-- The same for what never expires: `get` first looks for what did.
function _M.peek(name)
    return (state:get_stale(name))
end


-- syntax: dicts.set(name, value, seconds?)
function _M.set(name, value, seconds)
    local ok, err = state:safe_set(name, value, seconds)
    if not ok then
        ngx_log(ngx.ERR, "failed to store ", name, ": ", err)
    end
end


-- syntax: ok = dicts.add(name, value, seconds)
-- False if it is there already.
function _M.add(name, value, seconds)
    return state:safe_add(name, value, seconds)
end


-- syntax: dicts.drop(name)
function _M.drop(name)
    state:delete(name)
end


-- syntax: n = dicts.count_for(name, seconds)
-- Counts one more; forgotten so many seconds after the first one. Nil if there
-- is no room.
function _M.count_for(name, seconds)
    -- incr with a first value would make room by force.
    state:safe_add(name, 0, seconds)
    return (state:incr(name, 1))
end


-- syntax: bytes, free = dicts.state_space()
function _M.state_space()
    return state:capacity(), state:free_space()
end


return _M
