-- Passwords in files of one line. Reads a file: not for the request path.

local find = string.find
local gsub = string.gsub
local open = io.open

local _M = {}


-- syntax: text, err = secret.read(path)
function _M.read(path)
    local file, err = open(path, "rb")
    if not file then
        return nil, err
    end
    local text
    text, err = file:read("*a")
    file:close()
    if not text then
        return nil, path .. ": " .. err
    end
    text = gsub(text, "[\r\n]+$", "")
    if text == "" or find(text, "\n", 1, true) then
        return nil, path .. " must hold the password and nothing else"
    end
    return text
end


-- syntax: changed, err = secret.reread(login)
-- login = { password =, file = }: reads the password again.
function _M.reread(login)
    local text, err = _M.read(login.file)
    if not text then
        return false, err
    end
    local changed = text ~= login.password
    login.password = text
    return changed
end


return _M
