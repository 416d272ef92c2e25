-- Health checks for nginx, which has none by itself: asks every server for /login each 250 ms, takes it out after two bad answers and
-- back in after two good ones. Used by balancer.sh with one worker process, which holds this module's state.
local balancer = require "ngx.balancer"

local INTERVAL_SECONDS, FALL, RISE, TIMEOUT_MS = 0.25, 2, 2, 1000
local checks = {}
local servers = {}
local last = 0

local function is_well(server)
  local socket = ngx.socket.tcp()
  socket:settimeouts(TIMEOUT_MS, TIMEOUT_MS, TIMEOUT_MS)
  if not socket:connect(server.host, server.port) then
    return false
  end
  socket:send("GET /login HTTP/1.1\r\nHost: " .. server.host .. ":" .. server.port .. "\r\nConnection: close\r\n\r\n")
  local status = socket:receive("*l")
  socket:close()
  return status ~= nil and status:find("^HTTP/1%.1 200") ~= nil
end

local function check(stopping, server)
  if stopping then
    return
  end
  local began = ngx.now()
  if is_well(server) then
    server.good, server.bad = server.good + 1, 0
    if server.good >= RISE then server.up = true end
  else
    server.good, server.bad = 0, server.bad + 1
    if server.bad >= FALL and server.up then
      server.up = false
      ngx.log(ngx.WARN, server.host, ":", server.port, " is taken out")
    end
  end
  ngx.update_time()
  ngx.timer.at(math.max(0, INTERVAL_SECONDS - (ngx.now() - began)), check, server)
end

-- list: "host:port,host:port,..."
function checks.start(list)
  for host, port in list:gmatch("([^,]+):(%d+)") do
    local server = { host = host, port = tonumber(port), up = true, good = 0, bad = 0 }
    table.insert(servers, server)
    ngx.timer.at(0, check, server)
  end
end

-- In turn, among those that are well; all of them while none is.
function checks.choose()
  if not ngx.ctx.again then
    ngx.ctx.again = true
    balancer.set_more_tries(#servers - 1) -- only used when proxy_next_upstream is on
  end
  for _ = 1, #servers do
    last = last % #servers + 1
    if servers[last].up then
      break
    end
  end
  assert(balancer.set_current_peer(servers[last].host, servers[last].port))
end

return checks
