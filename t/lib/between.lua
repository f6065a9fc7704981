-- Stands between the edge and its Redis client, so that a test can count what
-- is asked and hold back what is answered. For init_by_lua; what to hold is
-- said in the shared dict testkit (see kit.lua).

local redis = require("pointsman.redis.client")

local counts = ngx.shared.testkit
local follow, lookup = redis.follow, redis.lookup
local read_app = redis.read_app


local function wait_while(name)
    while counts:get(name) and not ngx.worker.exiting() do
        ngx.sleep(0.001)
    end
end


-- An answer that is held back is one that grows old: Redis has given it.
redis.lookup = function(...)
    local answer, err = lookup(...)
    counts:incr("lookups", 1, 0)
    wait_while("hold_lookups")
    return answer, err
end


redis.read_app = function(...)
    local answer, err = read_app(...)
    counts:incr("app_lookups", 1, 0)
    wait_while("hold_apps")
    return answer, err
end


-- While the feed is held, it gets one entry for each that it is let.
local function read_slowly(feed)
    local read = feed.read
    feed.read = function(self, ...)
        local entries, err = read(self, ...)
        if entries and entries[1] and counts:get("hold_feed") then
            while counts:get("hold_feed") and counts:incr("let", -1, 0) < 0 do
                counts:incr("let", 1)
                ngx.sleep(0.001)
            end
            entries = { entries[1] }
        end
        return entries, err
    end
    return feed
end


redis.follow = function()
    local feed, err = follow()
    return feed and read_slowly(feed), err
end
