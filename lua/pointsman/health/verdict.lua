local ejection = require("pointsman.health.ejection")
local _M = {}
function _M.picked(record)
    ejection.picked(record.app, record.peer)
    return true
end
function _M.attempt_failed(record)
    ejection.judge(record.app, record.cut)
end
function _M.ended(record, status)
    if status >= 500 then
        ejection.judge(record.app, record.cut)
    end
    ejection.settle(record.app)
end
return _M
