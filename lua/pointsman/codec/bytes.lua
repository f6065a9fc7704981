-- Compares and joins parts of long texts, without making a string of each part.
-- Pure Lua; see codec/pack.lua.
--
-- LuaJIT keeps one copy of each string and finds it by a hash of its length and
-- a few of its bytes. Parts of long texts that look alike have the same hash by
-- the thousand: then to make one takes milliseconds. Where LuaJIT's FFI is not
-- to be had, strings must do.

local concat = table.concat
local match = string.match
local sub = string.sub
local tonumber = tonumber

local found, ffi = pcall(require, "ffi")


local _M = {}


-- syntax: same = bytes.same(a, at, b, from, n)
-- Whether the n bytes of `a` from `at` on are those of `b` from `from` on. All
-- of them must be there.
function _M.same(a, at, b, from, n)
    return sub(a, at, at + n - 1) == sub(b, from, from + n - 1)
end


-- syntax: less = bytes.less(text, at, stop, word)
-- Whether what stands from `at` on, before `stop`, comes before the word.
function _M.less(text, at, stop, word)
    return sub(text, at, stop - 1) < word
end


-- syntax: behind = bytes.skip(text, at, word)
-- The place behind a word that stands at this place; nil if it does not.
function _M.skip(text, at, word)
    local behind = at + #word
    if behind <= #text + 1 and _M.same(text, at, word, 1, #word) then
        return behind
    end
end


-- syntax: number, behind = bytes.number(text, at)
-- A whole number, whose digits begin at this place, and the place behind it.
function _M.number(text, at)
    local digits, behind = match(text, "^(%d+)()", at)
    return tonumber(digits), behind
end


-- syntax: text = bytes.join(text, parts, n)
-- parts = { from, to, string, from, to, string, ... }, n of them: in its turn,
-- text:sub(from, to) and then the string.
function _M.join(text, parts, n)
    local out, m = {}, 0
    for i = 1, n, 3 do
        out[m + 1] = sub(text, parts[i], parts[i + 1])
        out[m + 2] = parts[i + 2]
        m = m + 2
    end
    return concat(out)
end


if not found then
    return _M
end

ffi.cdef [[
int pointsman_memcmp(const void *a, const void *b, size_t n)
    __asm__("memcmp");
long long pointsman_strtoll(const char *text, char **end, int base)
    __asm__("strtoll");
]]

local C = ffi.C
local cast = ffi.cast
local copy = ffi.copy
local max = math.max
local min = math.min
local to_string = ffi.string

local buffer, size = nil, 0
local number_end = ffi.new("char *[1]")


function _M.same(a, at, b, from, n)
    return C.pointsman_memcmp(cast("const char *", a) + (at - 1),
                              cast("const char *", b) + (from - 1), n) == 0
end


function _M.less(text, at, stop, word)
    local length = stop - at
    local order = C.pointsman_memcmp(cast("const char *", text) + (at - 1),
                                     word, min(length, #word))
    return order < 0 or order == 0 and length < #word
end


function _M.skip(text, at, word)
    local behind = at + #word
    if behind <= #text + 1
            and C.pointsman_memcmp(cast("const char *", text) + (at - 1), word,
                                   #word) == 0 then
        return behind
    end
end


function _M.number(text, at)
    local from = cast("const char *", text) + (at - 1)
    local number = C.pointsman_strtoll(from, number_end, 10)
    return tonumber(number), at + (number_end[0] - from)
end


function _M.join(text, parts, n)
    local length = 0
    for i = 1, n, 3 do
        length = length + parts[i + 1] - parts[i] + 1 + #parts[i + 2]
    end
    if length > size then
        size = max(2 * size, length, 4096)
        buffer = ffi.new("char[?]", size)
    end
    local source, at = cast("const char *", text), 0
    for i = 1, n, 3 do
        local from, string = parts[i], parts[i + 2]
        local count = parts[i + 1] - from + 1
        copy(buffer + at, source + (from - 1), count)
        at = at + count
        copy(buffer + at, string, #string)
        at = at + #string
    end
    return to_string(buffer, length)
end


return _M
