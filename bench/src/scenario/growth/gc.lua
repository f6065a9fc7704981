-- Takes the garbage collector through a whole cycle, a step at a time, as it
-- would go by itself between requests; answers how long the steps took. For
-- content_by_lua of the benchmark's status listener.

local ffi = require("ffi")
local cjson = require("cjson.safe")

local ceil = math.ceil
local collectgarbage = collectgarbage
local max = math.max
local sort = table.sort

local MONOTONIC = 1
local THREAD_CPU = 3

-- The second time, it is there already.
pcall(ffi.cdef, [[
    struct benchmark_time { long seconds; long nanos; };
    int clock_gettime(int clock, struct benchmark_time *time);
]])
local time = ffi.new("struct benchmark_time")


local function micros(clock)
    ffi.C.clock_gettime(clock, time)
    return tonumber(time.seconds) * 1e6 + tonumber(time.nanos) / 1e3
end


-- What is left of the cycle that is under way.
local heap = collectgarbage("count") * 1024
repeat
    local done = collectgarbage("step", 0)
until done

local cpu, wall, n = {}, 0, 0
repeat
    local wall_began, began = micros(MONOTONIC), micros(THREAD_CPU)
    local done = collectgarbage("step", 0)
    n = n + 1
    cpu[n] = micros(THREAD_CPU) - began
    wall = max(wall, micros(MONOTONIC) - wall_began)
until done

sort(cpu)
ngx.say(cjson.encode({
    heap = heap,
    steps = n,
    p50 = cpu[ceil(n * 0.5)],
    p99 = cpu[ceil(n * 0.99)],
    worst = cpu[n],
    worst_wall = wall,
}))
