use TestPointsman;

run_edge_tests();

__DATA__

=== a large app that changes again and again is read now and then, to the last
--- lua
local list = { 'rules rules.test [{"path":"/x","to":[{"app":"shop"}]},'
               .. '{"path":"/","to":[{"app":"shop"}]}]' }
for i = 1, 6000 do
    list[i + 1] = string.format("inst shop large-%05d @refused weight=0", i)
end
t.change(table.concat(list, "\n"))
local late = 0
for round = 1, 20 do
    local name = round % 2 == 0 and "a" or "b"
    t.say(t.show("shop.test"), " ", t.show("rules.test"))
    t.change("inst shop a @" .. name)
    if t.show("shop.test") ~= "200 " .. name then
        late = late + 1
        t.say(round > 4 and "rests" or "rests too soon")
    end
    -- Nothing moves any more: these requests must look again by themselves.
    t.wait("both to see the change", function()
        local shown = t.show("shop.test") .. t.show("rules.test")
        return shown == "200 " .. name .. "200 " .. name, shown
    end)
end
t.say(late > 0)
--- response_body_like eval
"^" . join("(?:rests\\n)?", map { "200 $_ 200 $_\\n" } ("a", "b") x 10)
    . "(?:rests\\n)?true\n\$"
