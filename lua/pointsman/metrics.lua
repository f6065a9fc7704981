-- Counters of a worker, and the Prometheus page. All phases; the page is for
-- content_by_lua.
--
-- What a request counts stays in a table of its worker, and a timer adds it to
-- the shared dict each second. What is rare counts there at once, by
-- dicts.count.

local dicts = require("pointsman.cache.dicts")

local concat = table.concat
local dict_count = dicts.count
local dict_get = dicts.get
local format = string.format
local ipairs = ipairs
local pairs = pairs

local counts = {
    hits_l1 = 0, hits_l2 = 0, hits_redis = 0, hits_negative = 0,
    hits_stale = 0, hits_none = 0,
    retries = 0,
    errors_ambiguous_path = 0, errors_bad_host = 0, errors_busy = 0,
    errors_no_instance = 0, errors_no_route = 0, errors_no_such_instance = 0,
    errors_overloaded = 0, errors_paused = 0, errors_unavailable = 0,
}
-- By status: to find the class would cost each response more than to add up
-- five hundred numbers a second does.
local LAST_STATUS = 599
local statuses = {}
for status = 1, LAST_STATUS do
    statuses[status] = 0
end

-- Name, help, and label and its values if there are several.
local PAGE = {
    { "requests", "Responses by class (needs the log handler)", "code",
      { "1xx", "2xx", "3xx", "4xx", "5xx" } },
    { "hits", "Requests by where their route came from", "level",
      { "l1", "l2", "redis", "negative", "stale", "none" } },
    { "errors", "Requests that Pointsman itself answered", "reason",
      { "no_route", "no_instance", "unavailable", "busy", "overloaded",
        "no_such_instance", "paused", "bad_host", "ambiguous_path" } },
    { "retries", "Requests sent on to another instance" },
    { "ejections", "Instances ejected because they failed" },
    { "bad_records", "Records in Redis that could not be used" },
    { "redis_errors", "Lookups in Redis that failed" },
    { "refills", "Lookups repeated because of a change in between" },
    { "feed_entries", "Entries of the change stream applied" },
    { "feed_errors", "Connections of the feed that ended by an error" },
    { "revalidations", "Times that all cached records had to be revalidated" },
}
-- Name, help, type, and the field of dicts.usage.
local DICT_METRICS = {
    { "dict_capacity_bytes", "Size of a shared dict", "gauge", "capacity" },
    { "dict_free_bytes", "Whole free pages of a shared dict", "gauge", "free" },
    { "dict_entries", "Records in a shared dict, roughly", "gauge", "entries" },
    { "dict_evictions_total", "Times that an old record had to make room",
      "counter", "evicted" },
    { "dict_full_total", "Times that a record found no room", "counter",
      "full" },
}


local _M = {
    counts = counts,
    statuses = statuses,
}


-- syntax: metrics.flush()
-- From a timer of each worker.
function _M.flush()
    for name, value in pairs(counts) do
        if value ~= 0 then
            counts[name] = 0
            dict_count(name, value)
        end
    end
    for class = 1, 5 do
        local total = 0
        for status = class * 100, class * 100 + 99 do
            total = total + statuses[status]
            statuses[status] = 0
        end
        if total ~= 0 then
            dict_count("requests_" .. class .. "xx", total)
        end
    end
end


-- syntax: value = metrics.total(name)
-- Over all workers, since the shared dict was made (a reload keeps it).
function _M.total(name)
    return dict_get(name) or 0
end


local function add(out, line, ...)
    out[#out + 1] = format(line, ...)
end


local function add_head(out, name, help, kind)
    add(out, "# HELP pointsman_%s %s.", name, help)
    add(out, "# TYPE pointsman_%s %s", name, kind)
end


local function add_gauge(out, name, help, value)
    add_head(out, name, help, "gauge")
    add(out, "pointsman_%s %.0f", name, value)
end


local function add_dicts(out, usages)
    for _, metric in ipairs(DICT_METRICS) do
        local name, field = metric[1], metric[4]
        add_head(out, name, metric[2], metric[3])
        for dict, usage in pairs(usages) do
            if usage[field] then
                add(out, 'pointsman_%s{dict="%s"} %.0f', name, dict,
                    usage[field])
            end
        end
    end
end


-- syntax: text = metrics.render(facts)
-- facts = { applied =, feed_live =, agent_silence = seconds or nil,
-- dicts = { name = usage } }
function _M.render(facts)
    _M.flush()
    local out = {}
    for _, metric in ipairs(PAGE) do
        local name, label = metric[1], metric[3]
        add_head(out, name .. "_total", metric[2], "counter")
        if label then
            for _, value in ipairs(metric[4]) do
                add(out, 'pointsman_%s_total{%s="%s"} %.0f', name, label,
                    value, _M.total(name .. "_" .. value))
            end
        else
            add(out, "pointsman_%s_total %.0f", name, _M.total(name))
        end
    end
    add_gauge(out, "applied_revision",
              "The etcd revision that this edge has applied", facts.applied)
    add_gauge(out, "feed_live", "Whether the feed follows the table",
              facts.feed_live and 1 or 0)
    if facts.agent_silence then
        add_gauge(out, "agent_silence_seconds",
                  "Seconds since anything was heard from an agent",
                  facts.agent_silence)
    end
    add_dicts(out, facts.dicts)
    out[#out + 1] = ""
    return concat(out, "\n")
end


return _M
