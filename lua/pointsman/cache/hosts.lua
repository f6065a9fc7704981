-- The worker's own table of hosts (L1): which target each name leads to, and
-- what must still hold for that. All phases; nothing here yields.
--
-- A Lua table of a million strings would cost each look-up half a dozen cache
-- misses, and LuaJIT's collector the marking of them all. So the names are in
-- memory of the FFI: open addressing with linear probing, where a look-up is
-- one cache line, which holds the name as well, unless it is a long one. It
-- needs no Lua string at all.
--
--   * A name is within WINDOW slots of the place that its hash gives it, or not
--     there: many names of one hash, crafted or not, push each other out, and
--     slow nothing down. There is no deleting, so no gap to be marked.
--   * Who is found at another place than its own changes places with who is
--     there (much like the move-to-front rule that R. Rivest looks at in "On
--     self-organizing sequential search heuristics", 1976). So those that are
--     asked for most are found at once, and who is pushed out was not of late.
--   * The table is cut into SHARDS, each of which grows by itself: no request
--     ever waits for a million names to be moved. A sweep goes through one
--     shard at a time, and leaves behind the names that nobody asks for.

local bit = require("bit")
local ffi = require("ffi")

local band = bit.band
local copy = ffi.copy
local floor = math.floor
local max = math.max
local min = math.min
local new = ffi.new
local rshift = bit.rshift

local SHARDS = 256
local WINDOW = 32
local MIN_SIZE = 16
-- A place is made of sixteen bits of the hash.
local MAX_SIZE = 32768
local MAX_LOAD = 0.7
local GROWTH = 1.5
-- A name that was found stays for so many sweeps of its shard, one that was put
-- and never found for one.
local FOUND, PUT = 4, 1

ffi.cdef [[
typedef struct {
    double gen;         /* when it was last found valid */
    int32_t hash;
    int32_t target;     /* 0: nobody is here */
    uint16_t len;
    uint16_t use;       /* how many sweeps it stays */
    char name[44];      /* if it fits */
} __attribute__((aligned(64))) pointsman_host_t;

/* What the route was read under: see cache.lua. */
typedef struct {
    double seen;
    double reval;
    double topology;
    uint32_t at;        /* of a long name, in the text of the shard */
    uint16_t stripe;
} pointsman_facts_t;

typedef struct {
    pointsman_host_t *slots;
    pointsman_facts_t *facts;
    char *text;
    int32_t size, n;
    uint32_t used, room;
} pointsman_shard_t;

int pointsman_memcmp(const void *a, const void *b, size_t n)
    __asm__("memcmp");
]]

local C = ffi.C
local SLOT_BYTES = ffi.sizeof("pointsman_host_t")
local FACTS_BYTES = ffi.sizeof("pointsman_facts_t")
local MAX_SHORT = 44

-- What slots name by number, and by how many of them it is named.
local targets, uses = {}, {}
local free, free_n = {}, 0

local shards = new("pointsman_shard_t[?]", SHARDS)
-- What the shards point to, for the collector to see.
local anchors = {}      -- luacheck: ignore anchors
local hash_of
local max_size = MIN_SIZE
local next_shard = 0
local spare, spare_facts = new("pointsman_host_t[1]"),
                           new("pointsman_facts_t[1]")


local function acquire(target)
    local number = target.number
    if not number then
        if free_n > 0 then
            number, free_n = free[free_n], free_n - 1
        else
            number = #uses + 1
        end
        target.number, targets[number], uses[number] = number, target, 0
    end
    uses[number] = uses[number] + 1
    return number
end


local function release(number)
    uses[number] = uses[number] - 1
    if uses[number] == 0 then
        targets[number].number = nil
        targets[number] = false
        free_n = free_n + 1
        free[free_n] = number
    end
end


local function place(hash, size)
    return rshift(band(rshift(hash, 8), 0xffff) * size, 16)
end


-- The first free slot of the window; nil if there is none.
local function find_free(slots, from)
    for i = from, from + WINDOW - 1 do
        if slots[i].target == 0 then
            return i
        end
    end
    return nil
end


local function write(shard, i, text, len)
    local slot = shard.slots[i]
    slot.len = len
    if len <= MAX_SHORT then
        copy(slot.name, text, len)
    else
        shard.facts[i].at = shard.used
        copy(shard.text + shard.used, text, len)
        shard.used = shard.used + len
    end
end


local function name_of(slot, facts, text)
    return slot.len <= MAX_SHORT and slot.name or text + facts.at
end


-- Moves a shard to new memory. Who finds no place there is left behind.
local function rebuild(at, size, len)
    local shard = shards[at]
    local old, old_facts, old_text = shard.slots, shard.facts, shard.text
    local last = shard.size + WINDOW - 1
    local bytes = len > MAX_SHORT and len or 0
    for i = 0, last do
        if old[i].target ~= 0 and old[i].len > MAX_SHORT then
            bytes = bytes + old[i].len
        end
    end

    local room = floor(bytes * GROWTH)
    local slots = new("pointsman_host_t[?]", size + WINDOW)
    local facts = new("pointsman_facts_t[?]", size + WINDOW)
    local memory = new("char[?]", room)
    shard.slots, shard.facts, shard.text = slots, facts, memory
    shard.size, shard.n, shard.used, shard.room = size, 0, 0, room
    for i = 0, last do
        local from = old[i]
        if from.target ~= 0 then
            local to = find_free(slots, place(from.hash, size))
            if to then
                copy(slots[to], from, SLOT_BYTES)
                copy(facts[to], old_facts[i], FACTS_BYTES)
                if from.len > MAX_SHORT then
                    write(shard, to, old_text + old_facts[i].at, from.len)
                end
                shard.n = shard.n + 1
            else
                release(from.target)
            end
        end
    end
    anchors[at] = { slots, facts, memory }
end


local function is_at(shard, i, hash, text, len)
    local slot = shard.slots[i]
    return slot.hash == hash and slot.len == len and slot.target ~= 0
           and C.pointsman_memcmp(name_of(slot, shard.facts[i], shard.text),
                                  text, len) == 0
end


-- Lets who is at `found` and who is at its place `home` change places, unless
-- that one would leave its own window. Returns where the found one is.
local function bring_home(shard, home, found)
    local slots, facts = shard.slots, shard.facts
    if place(slots[home].hash, shard.size) + WINDOW <= found then
        return found
    end
    copy(spare, slots[home], SLOT_BYTES)
    copy(slots[home], slots[found], SLOT_BYTES)
    copy(slots[found], spare, SLOT_BYTES)
    copy(spare_facts, facts[home], FACTS_BYTES)
    copy(facts[home], facts[found], FACTS_BYTES)
    copy(facts[found], spare_facts, FACTS_BYTES)
    return home
end


local function find_beyond(shard, home, hash, text, len)
    local slots = shard.slots
    if slots[home].target == 0 then
        return nil
    end
    for i = home + 1, home + WINDOW - 1 do
        if slots[i].target == 0 then
            return nil
        end
        if is_at(shard, i, hash, text, len) then
            local at = bring_home(shard, home, i)
            slots[at].use = FOUND
            return slots[at], shard.facts[at]
        end
    end
    return nil
end


-- Of a window that is full, who is furthest from its own place. One that was
-- found of late is not.
local function find_victim(shard, from)
    local slots, size = shard.slots, shard.size
    local victim, furthest = from, -1
    for i = from, from + WINDOW - 1 do
        local distance = i - place(slots[i].hash, size)
        if distance > furthest then
            victim, furthest = i, distance
        end
    end
    return victim
end


-- A slot for a name that has none.
local function claim(hash, text, len)
    local at = band(hash, SHARDS - 1)
    local shard = shards[at]
    if shard.n >= shard.size * MAX_LOAD and shard.size < max_size then
        rebuild(at, min(max_size, max(MIN_SIZE, floor(shard.size * GROWTH))),
                len)
    elseif shard.text == nil
            or len > MAX_SHORT and shard.used + len > shard.room then
        rebuild(at, shard.size, len)
    end

    local home = place(hash, shard.size)
    local i = find_free(shard.slots, home)
    if i then
        shard.n = shard.n + 1
    else
        i = find_victim(shard, home)
        release(shard.slots[i].target)
    end
    local slot = shard.slots[i]
    slot.hash, slot.target, slot.use = hash, 0, PUT
    write(shard, i, text, len)
    return slot, shard.facts[i]
end


local _M = {
    -- By the number that a slot has.
    targets = targets,
}


-- syntax: hosts.init(limit, hash)
-- limit: names that there is room for; never less than 8,000.
-- hash(text, len): a number of 32 bits with a sign. Forgets all.
function _M.init(limit, hash)
    hash_of = hash
    max_size = min(MAX_SIZE, max(1, floor(limit / SHARDS / MAX_LOAD) - WINDOW))
    for number = 1, #uses do
        if targets[number] then
            targets[number].number = nil
        end
        targets[number], uses[number] = nil, nil
    end
    free_n = 0
    -- One piece of memory serves all shards that are empty.
    local nobody = new("pointsman_host_t[?]", 1 + WINDOW)
    for at = 0, SHARDS - 1 do
        local shard = shards[at]
        shard.slots, shard.facts, shard.text = nobody, nil, nil
        shard.size = 1
        shard.n, shard.used, shard.room = 0, 0, 0
        anchors[at] = nobody
    end
end


-- syntax: slot, facts = hosts.find(text, len)
-- text: a string, or a pointer to so many bytes. Both are good until the next
-- call; nil: the name is not there. The hot path.
function _M.find(text, len)
    local hash = hash_of(text, len)
    local shard = shards[band(hash, SHARDS - 1)]
    local home = place(hash, shard.size)
    if is_at(shard, home, hash, text, len) then
        local slot = shard.slots[home]
        -- A line of the CPU's cache that is not written to is not written back.
        if slot.use ~= FOUND then
            slot.use = FOUND
        end
        return slot, shard.facts[home]
    end
    return find_beyond(shard, home, hash, text, len)
end


-- syntax: facts = hosts.peek(name)
-- Those of a name that is there. It does not count as found.
function _M.peek(name)
    local len = #name
    local hash = hash_of(name, len)
    local shard = shards[band(hash, SHARDS - 1)]
    local home = place(hash, shard.size)
    for i = home, home + WINDOW - 1 do
        if shard.slots[i].target ~= 0 and is_at(shard, i, hash, name, len) then
            return shard.facts[i]
        end
    end
    return nil
end


-- syntax: slot, facts = hosts.put(name, target)
-- Those of the name, for the caller to fill in the rest. A target is a table,
-- whose field `number` is ours.
function _M.put(name, target)
    local slot, facts = _M.find(name, #name)
    -- Before the old one is let go: it may be the same.
    local number = acquire(target)
    if not slot then
        slot, facts = claim(hash_of(name, #name), name, #name)
    elseif slot.target ~= 0 then
        release(slot.target)
    end
    slot.target = number
    return slot, facts
end


-- syntax: is_last = hosts.sweep()
-- Goes through the next shard; true after the last one of all.
function _M.sweep()
    local at = next_shard
    next_shard = (at + 1) % SHARDS
    local shard, left, gone = shards[at], 0, 0
    for i = 0, shard.size + WINDOW - 1 do
        local slot = shard.slots[i]
        if slot.target ~= 0 then
            if slot.use == 0 then
                release(slot.target)
                slot.target, gone = 0, gone + 1
            else
                slot.use, left = slot.use - 1, left + 1
            end
        end
    end
    if gone > 0 then
        local size = min(shard.size, max(MIN_SIZE, floor(left * 2)))
        rebuild(at, size, 0)
    end
    return next_shard == 0
end


return _M
