-- Hashes of 32 bits, and random numbers made of them. Pure Lua, all phases.
--
-- MurmurHash3 for 32 bits (Austin Appleby, public domain). Its finaliser is
-- what mixes two hashes into a third, and what makes a counter random
-- (as in "Fast Splittable Pseudorandom Number Generators", Steele, Lea and
-- Flood, 2014). Hashes are numbers of bit's, -2^31 to 2^31 - 1.

local bit = require("bit")

local band = bit.band
local bxor = bit.bxor
local byte = string.byte
local lshift = bit.lshift
local rol = bit.rol
local rshift = bit.rshift
local tobit = bit.tobit

-- 2^32 divided by the golden ratio: a step that visits all numbers evenly.
local STEP = 0x9e3779b9
local RANGE = 2 ^ 32


-- a * b modulo 2^32: the product of two halves fits a double, all of it not.
local function multiply(a, b)
    return tobit(band(a, 0xffff) * b + lshift(rshift(a, 16) * b, 16))
end


local function mix(h)
    h = multiply(bxor(h, rshift(h, 16)), 0x85ebca6b)
    h = multiply(bxor(h, rshift(h, 13)), 0xc2b2ae35)
    return bxor(h, rshift(h, 16))
end


local function scramble(k)
    return multiply(rol(multiply(k, 0xcc9e2d51), 15), 0x1b873593)
end


local _M = {}


-- syntax: h = hash.mix(h)
-- One to one, and each bit of the result depends on all of the argument's.
_M.mix = mix


-- syntax: h = hash.of(text, seed?)
-- Other seeds give hashes that have nothing to do with each other.
function _M.of(text, seed)
    local h = tobit(seed or 0)
    local n = #text
    local whole = n - n % 4
    for i = 1, whole, 4 do
        local a, b, c, d = byte(text, i, i + 3)
        h = bxor(h, scramble(a + b * 0x100 + c * 0x10000 + d * 0x1000000))
        h = tobit(rol(h, 13) * 5 + 0xe6546b64)
    end
    if whole < n then
        local a, b, c = byte(text, whole + 1, n)
        h = bxor(h, scramble(a + (b or 0) * 0x100 + (c or 0) * 0x10000))
    end
    return mix(bxor(h, n))
end


-- syntax: x = hash.unit(h)
-- A number between 0 and 1, neither of which it is.
function _M.unit(h)
    return (h % RANGE + 0.5) / RANGE
end


-- syntax: state, h = hash.random(state)
-- The next random hash, and what to ask for the one after it.
function _M.random(state)
    state = tobit(state + STEP)
    return state, mix(state)
end


return _M
