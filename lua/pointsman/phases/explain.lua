-- The explain page: what would become of a request, and why. For
-- content_by_lua.

local answer = require("pointsman.explain.answer")
local dicts = require("pointsman.cache.dicts")
local question = require("pointsman.explain.question")
local revalidation = require("pointsman.cache.revalidation")

local cjson = require("cjson.safe")

local concat = table.concat
local dict_get = dicts.get
local encode = cjson.encode
local get_args = ngx.req.get_uri_args
local ipairs = ipairs
local ngx = ngx
local null = cjson.null

local MAX_ARGS = 200
-- In this order; what is not there is null.
local FIELDS = {
    "edge", "worker", "epoch", "applied", "cache", "host", "route", "revision",
    "pause", "rule", "rules", "app", "split", "directives", "waits_for",
    "answer", "algorithm", "instances", "next",
}
local LISTS = { rules = true, instances = true }

local edge = ""


-- An empty table would become an object.
local function encode_list(list)
    local parts = {}
    for i, item in ipairs(list) do
        parts[i] = encode(item)
    end
    return "[" .. concat(parts, ",") .. "]"
end


local function or_null(facts, ...)
    for _, name in ipairs { ... } do
        if facts and facts[name] == nil then
            facts[name] = null
        end
    end
end


local function say(status, body)
    ngx.status = status
    ngx.header.content_type = "application/json"
    ngx.header.cache_control = "no-store"
    ngx.say(body)
end


local _M = {}


-- syntax: explain.init(settings)
-- In init_worker_by_lua.
function _M.init(settings)
    edge = settings.edge
end


-- syntax: explain.page()
function _M.page()
    local args, truncated = get_args(MAX_ARGS)
    if truncated then
        return say(400, encode { detail = "there are more than " .. MAX_ARGS
                                          .. " parameters" })
    end
    local request, err = question.read(args)
    if not request then
        return say(400, encode { detail = err })
    end
    local out = answer.find(request)
    out.edge, out.epoch = edge, dict_get("epoch")
    out.applied = revalidation.applied()
    out.worker = { pid = ngx.worker.pid(), id = ngx.worker.id() }
    or_null(out.answer, "location")
    or_null(out.split, "value", "share")
    for _, peer in ipairs(out.instances) do
        or_null(peer, "in_flight")
    end
    for _, step in ipairs { out.rule, unpack(out.rules) } do
        for _, condition in ipairs(step.conditions) do
            or_null(condition, "value")
        end
    end

    local parts = {}
    for i, name in ipairs(FIELDS) do
        local value = out[name]
        if value == nil then
            value = null
        end
        parts[i] = '"' .. name .. '":'
                   .. (LISTS[name] and encode_list(value) or encode(value))
    end
    say(200, "{" .. concat(parts, ",") .. "}")
end


return _M
