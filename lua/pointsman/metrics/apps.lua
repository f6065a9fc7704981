-- Counters of each app: responses, how long requests and instances took,
-- retries and ejections. All phases; the page is for content_by_lua.
--
-- They lie in memory that all workers share, where each worker adds to its own
-- and the page adds up those of all. They belong to a worker's place (see
-- request/workers.lua) and stay there when it exits, so a reload loses nothing
-- that was counted.
--
-- So many apps have counters of their own; the rest share those of `_other`.
-- When all are taken, apps without a request for a while make room: what they
-- have counted goes to `_other`. Worker 0 alone does that, by counters in place
-- 0, which has no worker: what it takes from one and gives to the other.

local dicts = require("pointsman.cache.dicts")
local workers = require("pointsman.request.workers")

local ffi = require("ffi")

local cast = ffi.cast
local flights = dicts.flights
local floor = math.floor
local format = string.format
local ipairs = ipairs
local match = string.match
local max = math.max
local min = math.min
local pairs = pairs
local sort = table.sort

local MAX_APPS, OTHER = 1000, 0
-- An app's counters make room when they have not moved for so long.
local IDLE_SECONDS = 600
-- How often worker 0 looks, and how many apps it lets go at a time.
local LOOK_SECONDS, MAX_GONE = 60, 100
-- The upper bounds of the histograms in seconds; the last one has none.
local BOUNDS = { [0] = 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 }
local BUCKETS = 12
local LAST_STATUS = 599
-- Counters of a page of 4 KiB.
local PER_PAGE = 15

ffi.cdef [[
typedef struct {
    double classes[5];
    double times[12];       /* not cumulative */
    double time_sum;
    double waits[12];
    double wait_sum;
    double retries;
    double ejections;
} pointsman_app_t;

typedef struct {
    pointsman_app_t apps[15];
} pointsman_app_page_t;
]]

local BYTES = ffi.sizeof("pointsman_app_page_t")
local FIELDS = ffi.sizeof("pointsman_app_t") / 8

local class_of = {}
for status = 100, LAST_STATUS do
    class_of[status] = floor(status / 100) - 1
end

local place
-- Of this worker. (Before init() all is counted for nobody.)
local pages = { [0] = ffi.new("pointsman_app_page_t") }
local moved
-- In worker 0: when the counters of which number last moved, and what they were
-- then; the numbers that are free from the next look on.
local last, freed, looked_at = {}, {}, 0


local function page_of(its_place, i, is_own)
    local key = "c" .. its_place .. " " .. i
    local address = flights.get(key)
    if not address and is_own then
        address = flights.allocate(BYTES)
        if address then
            flights.set(key, address)
        end
    end
    return address and cast("pointsman_app_page_t *", cast("intptr_t", address))
end


-- A worker's counters of this number; where there is no room, `_other`'s.
local function own(number)
    local i = floor(number / PER_PAGE)
    local page = pages[i]
    if not page then
        page = place and page_of(place, i, true)
        if not page then
            return pages[0].apps + OTHER
        end
        pages[i] = page
    end
    return page.apps + number % PER_PAGE
end


local function new_number(name)
    local number = flights.next("apps", MAX_APPS) or flights.pop("free_apps")
    if not number then
        return nil
    elseif not flights.claim("app " .. name, number) then
        flights.push("free_apps", number)
        return flights.get("app " .. name)
    end
    flights.set("name_of_app " .. number, name)
    return number
end


local function counters_of(app)
    local name = app.name
    local counters = own(flights.get("app " .. name) or new_number(name)
                         or OTHER)
    app.counters = counters
    return counters
end


local function bucket(seconds)
    local i = 0
    while i < BUCKETS - 1 and seconds > BOUNDS[i] do
        i = i + 1
    end
    return i
end


local _M = {
    -- syntax: seconds = apps.LEAST
    -- The upper bound of the first bucket.
    LEAST = BOUNDS[0],
}


-- syntax: apps.init(place?)
-- In init_worker_by_lua.
function _M.init(its_place)
    place = its_place
    pages[0] = place and page_of(place, 0, true) or pages[0]
    moved = flights.get("apps_moved")
end


-- syntax: apps.ended(app, status, seconds)
-- A request has ended that went to this app, or would have. The hot path.
function _M.ended(app, status, seconds)
    local counters = app.counters or counters_of(app)
    local class = class_of[status]
    if not class then
        return
    end
    counters.classes[class] = counters.classes[class] + 1
    -- How long a WebSocket lasts is no request's time.
    if status ~= 101 then
        local i = seconds <= 0.005 and 0 or bucket(seconds)
        counters.times[i] = counters.times[i] + 1
        counters.time_sum = counters.time_sum + max(0, seconds)
    end
end


-- syntax: apps.answered(app, seconds)
-- So long an instance took until the header of its response. After apps.ended.
-- The hot path.
function _M.answered(app, seconds)
    local counters = app.counters
    local i = seconds <= 0.005 and 0 or bucket(seconds)
    counters.waits[i] = counters.waits[i] + 1
    counters.wait_sum = counters.wait_sum + max(0, seconds)
end


-- syntax: apps.retried(app)
function _M.retried(app)
    local counters = app.counters or counters_of(app)
    counters.retries = counters.retries + 1
end


-- syntax: apps.ejected(app)
-- An instance of the app.
function _M.ejected(app)
    local counters = app.counters or counters_of(app)
    counters.ejections = counters.ejections + 1
end


-- How many apps have had a number, up to MAX_APPS.
local function count_numbers()
    return flights.get("apps") or 0
end


-- All counters, added up: of number n from n * FIELDS on.
local function add_up()
    local n = count_numbers()
    local sums = ffi.new("double[?]", (n + 1) * FIELDS)
    for its_place = 0, workers.count_places() do
        for i = 0, floor(n / PER_PAGE) do
            local page = page_of(its_place, i)
            if page then
                local from = cast("double *", page)
                local to = sums + i * PER_PAGE * FIELDS
                local apps = min(PER_PAGE, n + 1 - i * PER_PAGE)
                for at = 0, apps * FIELDS - 1 do
                    to[at] = to[at] + from[at]
                end
            end
        end
    end
    return sums, n
end


-- Those whose counters have not moved for longest.
local function find_idle(sums, n, time)
    local idle = {}
    for number = 1, n do
        local total = 0
        for at = number * FIELDS, number * FIELDS + 4 do
            total = total + sums[at]
        end
        local seen = last[number]
        if not seen or seen.total ~= total or seen.since > time then
            last[number] = { total = total, since = time, number = number }
        elseif time - seen.since >= IDLE_SECONDS
                and flights.get("name_of_app " .. number) then
            idle[#idle + 1] = seen
        end
    end
    sort(idle, function(a, b) return a.since < b.since end)
    return idle
end


-- Takes from one number in place 0 and gives it to another.
local function move(sums, number)
    local function at(which)
        local page = page_of(0, floor(which / PER_PAGE), true)
        return page and cast("double *", page.apps + which % PER_PAGE)
    end
    local from, to = at(number), at(OTHER)
    if not from or not to then
        return false
    end
    for field = 0, FIELDS - 1 do
        local value = sums[number * FIELDS + field]
        from[field] = from[field] - value
        to[field] = to[field] + value
    end
    return true
end


-- syntax: apps.forget(time)
-- In worker 0, each second: if all counters are taken, those of apps that have
-- had no request for ten minutes make room. The workers learn of it within a
-- second; others get them a minute later.
function _M.forget(time)
    if time - looked_at < LOOK_SECONDS and time >= looked_at then
        return
    end
    looked_at = time
    for _, number in ipairs(freed) do
        flights.push("free_apps", number)
    end
    freed = {}
    if count_numbers() < MAX_APPS or not flights.has_none("free_apps") then
        return
    end
    local sums, n = add_up()
    for i, seen in ipairs(find_idle(sums, n, time)) do
        if i > MAX_GONE or not move(sums, seen.number) then
            break
        end
        flights.drop("app " .. flights.get("name_of_app " .. seen.number))
        flights.drop("name_of_app " .. seen.number)
        last[seen.number] = nil
        freed[#freed + 1] = seen.number
    end
    if #freed > 0 then
        flights.add("apps_moved", 1)
    end
end


-- syntax: yes = apps.have_moved()
-- From a timer of each worker, each second: whether each app's `counters` must
-- be found again.
function _M.have_moved()
    local now_moved = flights.get("apps_moved")
    local yes = now_moved ~= moved
    moved = now_moved
    return yes
end


-- In flight, by the app's number.
local function count_in_flight()
    local counts, sums = { [OTHER] = 0 }, workers.in_flight() or {}
    for key, n in pairs(sums) do
        local name = match(key, "^[^/]+")
        local number = flights.get("app " .. name) or new_number(name) or OTHER
        counts[number] = (counts[number] or 0) + n
    end
    return counts
end


local CLASSES = { [0] = "1xx", "2xx", "3xx", "4xx", "5xx" }
-- Where fields are in the structure.
local TIMES, WAITS, RETRIES, EJECTIONS = 5, 18, 31, 32


local function histogram(name, from)
    return function(print, sums, app)
        local total = 0
        for i = 0, BUCKETS - 1 do
            total = total + sums[from + i]
            print(format('pointsman_%s_bucket{app="%s",le="%s"} %.0f\n', name,
                         app, BOUNDS[i] or "+Inf", total))
        end
        print(format('pointsman_%s_sum{app="%s"} %.3f\n', name, app,
                     sums[from + BUCKETS]))
        print(format('pointsman_%s_count{app="%s"} %.0f\n', name, app, total))
    end
end


local function number_of(name, at)
    return function(print, sums, app)
        print(format('pointsman_%s{app="%s"} %.0f\n', name, app, sums[at]))
    end
end


-- Name, help, type, and what prints an app's lines.
local PAGE = {
    { "app_requests_total", "Requests of an app by class of the response",
      "counter", function(print, sums, app)
          for i = 0, 4 do
              print(format('pointsman_app_requests_total{app="%s",code="%s"} '
                           .. "%.0f\n", app, CLASSES[i], sums[i]))
          end
      end },
    { "app_request_seconds", "Time of requests from their first byte to the "
      .. "end of the response", "histogram",
      histogram("app_request_seconds", TIMES) },
    { "app_instance_seconds", "Time that instances took until the header of "
      .. "their response", "histogram",
      histogram("app_instance_seconds", WAITS) },
    { "app_retries_total", "Requests sent on to another instance", "counter",
      number_of("app_retries_total", RETRIES) },
    { "app_ejections_total", "Instances ejected because they failed",
      "counter", number_of("app_ejections_total", EJECTIONS) },
    { "app_requests_in_flight", "Requests sent to an instance and not ended",
      "gauge", function(print, _, app, in_flight)
          print(format('pointsman_app_requests_in_flight{app="%s"} %.0f\n',
                       app, in_flight))
      end },
}


-- syntax: apps.render(print, pause)
-- Their lines of the Prometheus page, by print(line). They may be many: after
-- each hundred apps, pause() lets requests go first.
function _M.render(print, pause)
    local in_flight = count_in_flight()
    local sums, n = add_up()
    local names = { [OTHER] = "_other" }
    for number = 1, n do
        names[number] = flights.get("name_of_app " .. number)
    end
    for _, metric in ipairs(PAGE) do
        print(format("# HELP pointsman_%s %s.\n# TYPE pointsman_%s %s\n",
                     metric[1], metric[2], metric[1], metric[3]))
        for number = 0, n do
            if names[number] then
                metric[4](print, sums + number * FIELDS, names[number],
                          in_flight[number] or 0)
            end
            if number % 100 == 99 then
                pause()
            end
        end
    end
end


return _M
