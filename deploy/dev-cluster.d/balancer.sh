# shellcheck shell=bash
# A load balancer in front of servers: process `lb`, settings in $dir/lb.env.
#
# Both ask every server for /login each 250 ms and take it out after two answers that are not 200, so a server that drains for longer
# than that loses no request. Answers carry x-served-by: HOST:PORT.
# shellcheck disable=SC2154 # $dir, $lb and the other options are set by deploy/dev-cluster

balancer_start() { # host:port,host:port,...
  [ -n "$1" ] || fail "--at HOST:PORT,HOST:PORT,... is missing"
  need_command curl curl
  local port
  if [ -e "$dir/lb.env" ]; then
    port=$(sed -n 's/^LB_PORT=//p' "$dir/lb.env")
    case $(state_of lb) in
      down | dead) ;;
      *)
        [ "$(sed -n 's/^LB_SERVERS=//p; s/^LB_KIND=//p' "$dir/lb.env")" = "$lb"$'\n'"$1" ] && return 0
        stop_processes 50 lb
        ;;
    esac
  else
    port=$(free_ports 1)
  fi
  mkdir -p "$dir/lb"
  case $lb in
    haproxy) balancer_run_haproxy "$port" "$1" ;;
    nginx) balancer_run_nginx "$port" "$1" ;;
    *) fail "--lb is haproxy or nginx" ;;
  esac
  start_watchdog
  printf '%s\n' "LB_KIND=$lb" "LB_URL=http://127.0.0.1:$port" "LB_PORT=$port" "LB_SERVERS=$1" >"$dir/lb.env"
  local i
  for ((i = 0; i < 100; i++)); do
    [ "$(curl --silent --output /dev/null --write-out '%{http_code}' "http://127.0.0.1:$port/" || true)" = 000 ] || return 0
    [ "$(state_of lb)" = running ] || fail "$lb ended: $(tail -n 3 "$dir/logs/lb.log")"
    sleep 0.05
  done
  fail "$lb does not answer: see $dir/logs/lb.log"
}

balancer_status() {
  [ -e "$dir/lb.env" ] || fail "there is no load balancer in $dir"
  echo "lb ($(sed -n 's/^LB_KIND=//p' "$dir/lb.env")) $(state_of lb)"
}

balancer_run_haproxy() { # own port, servers
  need_command haproxy haproxy
  local server number=0 again="retries 0"
  if [ "$retries" = yes ]; then again=$'retries 3\n  option redispatch 1'; fi
  cat >"$dir/lb/haproxy.cfg" <<CONF
global
  maxconn 4000

defaults
  mode http
  timeout connect 2s
  timeout client 600s
  timeout server 600s

frontend entrance
  bind 127.0.0.1:$1
  default_backend servers

backend servers
  balance roundrobin
  $again
  option httpchk GET /login
  http-check expect status 200
  timeout check 1s
  default-server check inter 250ms fall 2 rise 2
  http-response set-header x-served-by %si:%sp
$(for server in ${2//,/ }; do
    number=$((number + 1))
    echo "  server node-$number $server"
  done)
CONF
  start_process lb haproxy -db -f "$dir/lb/haproxy.cfg"
}

# Debian's nginx checks nothing by itself; its Lua module does, in nginx_checks.lua.
balancer_run_nginx() { # own port, servers
  need_nginx
  local again=off
  if [ "$retries" = yes ]; then again="error timeout http_502 http_503"; fi
  cat >"$dir/lb/nginx.conf" <<CONF
load_module $nginx_modules/ndk_http_module.so;
load_module $nginx_modules/ngx_http_lua_module.so;
$([ "$(id -u)" != 0 ] || echo "user root;")
daemon off;
worker_processes 1;
pid $dir/lb/nginx.pid;
error_log stderr warn;

events {
  worker_connections 8192;
}

http {
  access_log off;
  client_body_temp_path $dir/lb/client_body;
  proxy_temp_path $dir/lb/proxy;
  fastcgi_temp_path $dir/lb/fastcgi;
  uwsgi_temp_path $dir/lb/uwsgi;
  scgi_temp_path $dir/lb/scgi;
  client_max_body_size 0;
  lua_package_path "$here/?.lua;/usr/share/lua/5.1/?.lua;;";

  init_worker_by_lua_block { require("nginx_checks").start("$2") }

  upstream servers {
    server 0.0.0.1; # the next line decides
    balancer_by_lua_block { require("nginx_checks").choose() }
    keepalive 64;
  }

  server {
    listen 127.0.0.1:$1;
    location / {
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host \$http_host;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_connect_timeout 2s;
      proxy_read_timeout 600s;
      proxy_send_timeout 600s;
      proxy_next_upstream $again;
      add_header x-served-by \$upstream_addr always;
    }
  }
}
CONF
  start_process lb nginx -p "$dir/lb" -c "$dir/lb/nginx.conf" -e stderr
}
