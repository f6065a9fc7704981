-- The workers of this nginx, those that exit after a reload included, and what
-- each of them shows the others in shared memory: its requests in flight, and
-- whether it is choosing an instance. All phases; nothing here yields.
--
-- Each worker has a place (w1, w2, ... in the dict of flights: its process id)
-- and pages of memory that belong to the place (m1, m2, ...: where the first
-- one is). Nobody else writes to them. A page has tallies: how many requests
-- are in flight to one instance at one address. A worker that exits goes on
-- counting. When there is no such process any more, what it has left behind is
-- removed, and the next worker to start takes its place.
--
-- A pass is the time from a look at the version counters to the moment when the
-- request is counted as in flight: the worker's word is odd meanwhile. Once a
-- change is shown to all, and every pass of before has ended, no request uses
-- anything older, and all that were sent by it are counted. The request path
-- pays two stores for that, and no lock.
--
-- The CPU may hold back a store while it goes on with the loads that follow, so
-- for some nanoseconds a worker can look at the counters while its word still
-- seems to be even. Who waits for passes to end looks a millisecond or more
-- after the change was shown. (A worker that loses its core has stored all.)

local dicts = require("pointsman.cache.dicts")

local bit = require("bit")
local ffi = require("ffi")

local C = ffi.C
local band = bit.band
local bor = bit.bor
local cast = ffi.cast
local copy = ffi.copy
local ffi_string = ffi.string
local flights = dicts.flights
local md5 = ngx.md5
local ngx_log = ngx.log
local pairs = pairs
local setmetatable = setmetatable
local tobit = bit.tobit

-- How many workers may have a place, those that are exiting included.
local PLACES = 256
-- Longer than it takes to remove what a dead worker has left behind.
local BURIAL_SECONDS = 10
local NO_SUCH_PROCESS = 3       -- ESRCH
-- Tallies of a page of 4 KiB. The first one of the first page has no name: it
-- counts the requests for which there was no room.
local TALLIES = 21
local UNNAMED = 1
-- A name that is longer is in the dict, and its hash in the tally.
local LONGEST = 180

ffi.cdef [[
int pointsman_kill(int pid, int signal) __asm__("kill");

typedef struct {
    double n;
    uint16_t len;       /* 0: nobody has it */
    uint16_t is_kept;   /* its instance drains, and keeps sessions */
    char name[180];
} pointsman_tally_t;

typedef struct pointsman_page {
    struct pointsman_page *next;
    int32_t word;
    pointsman_tally_t tallies[21];
} pointsman_page_t;
]]

local BYTES = ffi.sizeof("pointsman_page_t")

local pid, prefix = 0, ""
-- Of all workers: { pid =, page = the first one }. Prefixes of the others' keys
-- in the dict; the number of registrations when both were read.
local members, others, others_n = {}, {}, 0
local registrations

-- This worker's own. (Before init() nothing is counted.)
local first = ffi.new("pointsman_page_t")
local last = first
local tallies, n_tallies = {}, 0
-- Whose a tally is. A load that nothing refers to any more has none in flight.
local owners = setmetatable({}, { __mode = "v" })
local free, n_free = {}, 0
-- Loads that count in the tally without a name.
local spilled = setmetatable({}, { __mode = "k" })
local has_spilled = false


local function is_alive(process)
    return C.pointsman_kill(process, 0) == 0 or ffi.errno() ~= NO_SUCH_PROCESS
end


local function page_at(address)
    return cast("pointsman_page_t *", cast("intptr_t", address))
end


local function clear(page)
    page.word = 0
    while page ~= nil do
        for i = 0, TALLIES - 1 do
            page.tallies[i].n, page.tallies[i].len = 0, 0
        end
        page = page.next
    end
end


-- One of the workers that find out removes what a dead one has left behind.
local function bury(place, dead)
    if flights.claim("dead " .. dead, true, BURIAL_SECONDS) then
        local address = flights.get("m" .. place)
        if address then
            clear(page_at(address))
        end
        flights.drop_all(dead .. " ")
        flights.drop("w" .. place)
    end
end


local function scan()
    registrations = flights.get("registrations")
    local list, n_list, prefixes, n = {}, 0, {}, 0
    for place = 1, PLACES do
        local owner = flights.get("w" .. place)
        if owner and owner ~= pid and not is_alive(owner) then
            bury(place, owner)
        elseif owner then
            local address = flights.get("m" .. place)
            n_list = n_list + 1
            list[n_list] = { pid = owner, page = address and page_at(address) }
            if owner ~= pid then
                n = n + 1
                prefixes[n] = owner .. " "
            end
        end
    end
    members, others, others_n = list, prefixes, n
end


-- Returns the place that this worker has got, or nil.
local function register()
    for place = 1, PLACES do
        local owner = flights.get("w" .. place)
        if owner == pid then
            -- Of a dead process that had the same id.
            flights.drop_all(prefix)
            return place
        elseif not owner then
            -- First: who sees the worker must see its memory.
            local address = not flights.get("m" .. place)
                            and flights.allocate(BYTES)
            if address then
                flights.claim("m" .. place, address)
            end
            if flights.claim("w" .. place, pid) then
                return place
            end
        end
    end
    return nil
end


local function add_page(page)
    for i = 0, TALLIES - 1 do
        if i > 0 or page ~= first then
            n_tallies = n_tallies + 1
            tallies[n_tallies] = page.tallies + i
            n_free = n_free + 1
            free[n_free] = n_tallies
        end
    end
    last = page
end


-- Takes the tallies of instances that have nothing in flight. Where that is not
-- half of all, there are too few.
local function make_room()
    for i = 1, n_tallies do
        local tally = tallies[i]
        if tally.n == 0 then
            local owner = owners[i]
            if owner then
                owner.tally, owners[i] = nil, nil
            end
            tally.len = 0
            n_free = n_free + 1
            free[n_free] = i
        end
    end
    if 2 * n_free < n_tallies then
        local address = flights.allocate(BYTES)
        if address then
            local page = page_at(address)
            last.next = page
            add_page(page)
        end
    end
end


local function write_name(tally, name)
    if #name > LONGEST then
        local hash = md5(name)
        flights.claim("name " .. hash, name)
        name = hash
    end
    copy(tally.name, name, #name)
    -- Last: who sees a length must see the name.
    tally.len = #name
end


local function name_of(tally)
    local name = ffi_string(tally.name, tally.len)
    return #name == 32 and flights.get("name " .. name) or name
end


local _M = {
    -- syntax: yes = workers.is_alive(pid)
    is_alive = is_alive,
}


-- syntax: prefix, place = workers.init()
-- In init_worker_by_lua. The prefix is that of this worker's keys in the dict
-- of flights. Without a place, what it counts is seen by nobody.
function _M.init()
    pid = ngx.worker.pid()
    prefix = pid .. " "
    local place = register()
    local address = place and flights.get("m" .. place)
    if address then
        first = page_at(address)
        clear(first)
    else
        ngx_log(ngx.ERR, "there is no room in pointsman_flights for a worker: ",
                "the others do not see what it has in flight, and this edge ",
                "does not report to agents; give lua_shared_dict more memory")
        dicts.set("uncounted_worker", pid)
    end
    local page = first
    repeat
        add_page(page)
        page = page.next
    until page == nil
    flights.add("registrations", 1)
    scan()
    return prefix, address and place
end


-- syntax: n = workers.count_places()
-- Those that have had a worker at any time.
function _M.count_places()
    local n = 0
    while n < PLACES and flights.get("m" .. n + 1) do
        n = n + 1
    end
    return n
end


-- syntax: workers.tick()
-- From a timer of each worker, each second: finds out who has died.
function _M.tick()
    scan()
    _M.leave()
    if has_spilled and first.tallies[UNNAMED - 1].n == 0 then
        for load in pairs(spilled) do
            load.tally, spilled[load] = nil, nil
        end
        has_spilled = false
    end
end


-- syntax: prefixes, n = workers.others()
-- Of the other workers' keys in the dict of flights.
function _M.others()
    if flights.get("registrations") ~= registrations then
        scan()
    end
    return others, others_n
end


-- syntax: workers.enter()
-- A pass begins: right before the version counters are looked at. (One that
-- ended by an error of Lua's has left the word odd.) The hot path.
function _M.enter()
    first.word = tobit(bor(first.word, 1) + 2)
end


-- syntax: workers.leave()
-- It ends: the request is counted, or is not sent. The hot path.
function _M.leave()
    first.word = band(tobit(first.word + 1), -2)
end


-- syntax: tally = workers.tally(load)
-- For a load (see in_flight.lua) that has none: load.tally, where `n` is to be
-- counted up and down. It may be taken back when that is 0; load.tally is nil
-- then.
function _M.tally(load)
    if n_free == 0 then
        make_room()
    end
    local tally
    if n_free > 0 then
        local i = free[n_free]
        n_free = n_free - 1
        tally, owners[i] = tallies[i], load
        tally.is_kept = 0
        write_name(tally, load.key)
    else
        tally = first.tallies + (UNNAMED - 1)
        spilled[load], has_spilled = true, true
    end
    load.tally = tally
    return tally
end


-- syntax: passes = workers.passes()
-- Those that are under way now, in all workers; for have_ended.
function _M.passes()
    scan()
    local list = {}
    for i = 1, #members do
        local page = members[i].page
        -- Read once: an even word that took its place would never change in a
        -- worker without requests.
        local word = page and page.word or 0
        if band(word, 1) == 1 then
            list[#list + 1] = { page = page, word = word }
        end
    end
    return list
end


-- syntax: yes = workers.have_ended(passes)
-- That of a dead worker ends when it is buried.
function _M.have_ended(list)
    for i = #list, 1, -1 do
        if list[i].page.word == list[i].word then
            return false
        end
        list[i] = nil
    end
    return true
end


-- syntax: sums, kept, unnamed = workers.in_flight()
-- Main requests in flight now, over all workers, by the keys of loads; which of
-- these instances drain and keep sessions; and how many requests there are
-- whose instance is not known. Nil and an error if a worker's are not known.
function _M.in_flight()
    local uncounted = dicts.get("uncounted_worker")
    if uncounted and is_alive(uncounted) then
        return nil, "pointsman_flights has no room for the counts of worker "
                    .. uncounted
    elseif flights.get("registrations") ~= registrations then
        scan()
    end
    local sums, kept, unnamed = {}, {}, 0
    for i = 1, #members do
        local page = members[i].page
        while page and page ~= nil do
            for at = 0, TALLIES - 1 do
                local tally = page.tallies[at]
                local n = tally.n
                if n > 0 and tally.len > 0 then
                    local name = name_of(tally)
                    sums[name] = (sums[name] or 0) + n
                    if tally.is_kept == 1 then
                        kept[name] = true
                    end
                elseif n > 0 then
                    unnamed = unnamed + n
                end
            end
            page = page.next
        end
    end
    return sums, kept, unnamed
end


return _M
