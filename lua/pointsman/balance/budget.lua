-- The retry budget: how many of an app's requests may be retries, so that an
-- app in trouble is not hit several times over. Pure; the time is handed in.
--
-- After Finagle's RetryBudget: retries may be a share of the requests of the
-- last ten seconds, on top of a reserve that fills by ten a second, for apps
-- with few requests. Counted by each worker for itself.

local max = math.max
local min = math.min
local setmetatable = setmetatable

local RESERVE = 100
local REFILL = 10       -- retries a second
local WINDOW = 10       -- seconds


local _Budget = {}
local BUDGET = { __index = _Budget }


-- syntax: yes = budget:has_left(share, requests, time)
-- Whether one more retry is within the budget. `share` is a ratio, `requests`
-- how many there were in all, `time` in seconds.
function _Budget:has_left(share, requests, time)
    local seconds = max(0, time - self.at)
    local earned = share * max(0, requests - self.requests)
    if seconds > WINDOW then
        earned = earned * WINDOW / seconds
    end
    if time - self.began >= WINDOW then
        -- What was not used in one window is no credit for the next.
        self.left, self.began = min(RESERVE, self.left), time
    end
    local refilled = min(RESERVE, self.left + REFILL * seconds)
    self.left = max(self.left, refilled) + earned
    self.at, self.requests = time, requests
    return self.left >= 1
end


-- syntax: ok = budget:take(share, requests, time)
-- The same, and takes it out.
function _Budget:take(share, requests, time)
    if not self:has_left(share, requests, time) then
        return false
    end
    self.left = self.left - 1
    return true
end


local _M = {}


-- syntax: budget = budget.new(requests, time)
function _M.new(requests, time)
    return setmetatable({ left = RESERVE, at = time, began = time,
                          requests = requests }, BUDGET)
end


local function of(app, time)
    local kept = app.budget
    if not kept then
        kept = _M.new(app.requests, time)
        app.budget = kept
    end
    return kept
end


-- syntax: yes = budget.has_left(app, time)
-- For a decoded app, by the share that its policy has.
function _M.has_left(app, time)
    return of(app, time):has_left(app.policy.retry_budget / 100, app.requests,
                                  time)
end


-- syntax: ok = budget.allows(app, time)
-- The same, and takes it out.
function _M.allows(app, time)
    return of(app, time):take(app.policy.retry_budget / 100, app.requests,
                              time)
end


return _M
