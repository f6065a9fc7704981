use TestPointsman;

run_edge_tests();

__DATA__

=== a WebSocket is upgraded and carries bytes both ways, cold and warm
--- lua
for _ = 1, 2 do
    local connection = t.connect()
    local sock = connection.sock
    local response = connection:request("shop.test", "/ws", { headers = {
        "Connection: Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13" } })
    t.say(response.status, " ", response.headers.upgrade, " ",
          response.headers.connection)
    for _, word in ipairs { "one", "two" } do
        sock:send(word .. "\n")
        t.say(sock:receive())
    end
    connection:close()
end
--- response_body
101 websocket upgrade
echo one
echo two
101 websocket upgrade
echo one
echo two



=== spelling of the upgrade does not matter
--- lua
local connection = t.connect()
local response = connection:request("shop.test", "/ws", { headers = {
    "connection: keep-alive, Upgrade", "upgrade: WebSocket" } })
t.say(response.status)
--- response_body
101



=== a WebSocket stays when its instance leaves the table
--- lua
local connection = t.connect()
local sock = connection.sock
connection:request("shop.test", "/ws", { headers = {
    "Connection: Upgrade", "Upgrade: websocket" } })
t.change("del inst shop a\ninst shop b @b")
sock:send("still there\n")
t.say(sock:receive())
t.say(t.show("shop.test"))
--- response_body
echo still there
200 b



=== an app that refuses the upgrade is heard
--- lua
local connection = t.connect()
local response = connection:request("shop.test", "/status/426", { headers = {
    "Connection: Upgrade", "Upgrade: websocket" } })
t.say(response.status, " ", response.body)
t.say(connection:request("shop.test").status)
--- response_body
426 the app says 426

200



=== a WebSocket is retried on another instance when one refuses
--- records
route shop.test shop
inst shop a @a
inst shop gone @refused
--- lua
for _ = 1, 4 do
    local connection = t.connect()
    local response = connection:request("shop.test", "/ws", { headers = {
        "Connection: Upgrade", "Upgrade: websocket" } })
    t.say(response.status)
    connection:close()
end
--- no_error_log
[alert]
--- response_body
101
101
101
101
