package TestPointsman;

# The harness of t/*.t: Test::Nginx with the edge's shipped nginx files, a Redis
# of the file's own, and instances played by the same nginx.
#
# A block may have, besides Test::Nginx's sections:
#   --- lua       a scenario, run inside nginx with `t` (kit.lua)
#   --- records   what is in Redis when nginx starts (redis_agent.lua);
#                 default: shop.test -> shop, with the instance a
#   --- redis     commands that Redis gets after the records, one a line
#   --- setup     more settings for require("pointsman").setup
#   --- without   words: http setup start log server location status records
#                 redis: what the harness shall leave out; after `http` the
#                 shared dicts are the block's own
#   --- trusted   a network whose proxies are trusted
#   --- workers   how many
#   --- at_once   the scenario does not wait until the feed follows the table
#   --- hook      Lua that runs in init_by_lua, to get between the modules
# A block without error_log and no_error_log sections must log no warning. Each
# response of the edge names its worker and the upstream addresses it tried.
# `listen … http2;` is written as the nginx at hand wants it.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(remove_tree);
use File::Spec;
use File::Temp qw(tempdir);
use IO::Socket::INET;
use Time::HiRes qw(sleep time);

my ($root, $dir, $redis_port, $owner, @claims);

# A port below those that the kernel hands out to clients: nginx binds it again
# for each block, and meanwhile no connection may have taken it, nor another
# test file that runs beside this one.
sub free_port {
    for (1 .. 1000) {
        my $port = 10000 + int rand 20000;
        my $claim = File::Spec->tmpdir . "/pointsman-port-$port";
        mkdir $claim or next;
        push @claims, $claim;
        my $socket = IO::Socket::INET->new(
            LocalAddr => '0.0.0.0', LocalPort => $port, Proto => 'tcp',
            Listen => 1);
        return $port if $socket;
    }
    die "no free port found\n";
}

BEGIN {
    srand;
    $owner = $$;
    $root = abs_path(dirname(__FILE__) . '/../..');
    $dir = tempdir('pointsman-test-XXXXXX', TMPDIR => 1);
    $redis_port = free_port();

    $ENV{POINTSMAN_TEST_DIR} = $dir;
    $ENV{POINTSMAN_TEST_LIB} = "$root/t/lib";
    $ENV{POINTSMAN_TEST_PREFIX} = 'test:';
    $ENV{POINTSMAN_TEST_REDIS_PORT} = $redis_port;
    $ENV{TEST_NGINX_REDIS_PORT} = $redis_port;
    $ENV{TEST_NGINX_LUA} = "$root/lua";
    $ENV{TEST_NGINX_TLS} = "$root/t/fixtures/tls";
    $ENV{TEST_NGINX_SERVER_PORT} ||= free_port();
    $ENV{TEST_NGINX_SERVROOT} = "$dir/nginx";
    $ENV{TEST_NGINX_LOG_LEVEL} ||= 'info';
    $ENV{TEST_NGINX_FAST_SHUTDOWN} = 1;
    $ENV{TEST_NGINX_WORKER_USER} ||= 'root' if $> == 0;
    delete $ENV{$_} for grep { /^POINTSMAN_(?!TEST_)/ } keys %ENV;
}

use Test::Nginx::Socket ();
use Test::Nginx::Util;

# What a scenario waited for in vain stands at the end of a long answer.
$Test::LongString::Max = 5000;

# nginx looks for an include beside its nginx.conf, where this folder lies in a
# user's installation, too.
{
    no warnings 'redefine';
    my $set_up = \&Test::Nginx::Util::setup_server_root;
    *Test::Nginx::Util::setup_server_root = sub ($) {
        my ($first_time) = @_;
        $set_up->($first_time);
        my $link = "$ENV{TEST_NGINX_SERVROOT}/conf/pointsman";
        -l $link or symlink "$root/nginx/pointsman", $link
            or die "cannot make $link: $!\n";
        return;
    };
}

# Test::Nginx is imported into the test itself, as it reads the blocks from
# there. (Deriving from it would put this file through Spiffy's source filter.)
sub import {
    my $test = caller;
    eval "package $test; use Test::Nginx::Socket; 1" or die $@;
    no strict 'refs';
    *{"${test}::$_"} = \&$_ for qw(run_edge_tests publish redis free_port
                                  start_server);
    return;
}

sub slurp {
    my ($path) = @_;
    open my $in, '<', $path or die "cannot read $path: $!\n";
    local $/;
    return <$in>;
}

sub connect_redis {
    return IO::Socket::INET->new(
        PeerAddr => '127.0.0.1', PeerPort => $redis_port, Proto => 'tcp',
        Timeout => 5);
}

# One command; dies with what Redis complains about. Good for the replies that
# the harness needs: a line, a number, one string.
sub redis {
    my @words = @_;
    my $socket = connect_redis() or die "cannot connect to Redis: $!\n";
    print {$socket} '*' . @words . "\r\n",
        map { '$' . length($_) . "\r\n$_\r\n" } @words;
    my $line = <$socket> // die "Redis closed the connection\n";
    die "Redis refused $words[0]: $line" if $line =~ /^-/;
    $line = <$socket> if $line =~ /^\$\d/;
    $line =~ s/^[+:]|\r\n\z//g;
    return $line;
}

# Changes records as an agent would; see redis_agent.lua.
sub publish {
    my ($text) = @_;
    return redis('EVAL', slurp("$root/t/lib/redis_agent.lua"), 0,
                 $ENV{POINTSMAN_TEST_PREFIX}, $ENV{TEST_NGINX_SERVER_PORT},
                 'batch', $text);
}

sub start_redis {
    return if connect_redis();
    system('redis-server', "$dir/redis.conf") == 0
        or die "cannot start redis-server\n";
    my $deadline = time + 10;
    until (connect_redis()) {
        die "redis-server does not answer\n" if time > $deadline;
        sleep 0.01;
    }
}

# Ends the process whose id is in this file, and waits for it.
sub stop_process {
    my ($file) = @_;
    open my $in, '<', $file or return;
    my $line = <$in> // '';
    close $in;
    my ($pid) = $line =~ /^(\d+)$/ or return;
    kill TERM => $pid;
    for (1 .. 300) {
        return unless is_running($pid);     # a zombie is not
        sleep 0.01;
    }
    kill KILL => $pid;
}

# A Redis beside the file's own, with these lines in its configuration; returns
# its port.
my @beside;

sub start_server {
    my ($name, $text, @flags) = @_;
    my $port = free_port();
    mkdir "$dir/$name";
    open my $out, '>', "$dir/$name/conf" or die "cannot write: $!\n";
    print {$out} "bind 127.0.0.1\nport $port\ndaemonize yes\n",
        "pidfile $dir/$name/redis.pid\nlogfile $dir/$name/log\n",
        "dir $dir/$name\n", $text;
    close $out;
    push @beside, "$dir/$name/redis.pid";
    system('redis-server', "$dir/$name/conf", @flags) == 0
        or die "cannot start $name\n";
    return $port;
}

sub stop_redis { stop_process("$dir/redis.pid") }

sub write_redis_conf {
    open my $out, '>', "$dir/redis.conf" or die "cannot write: $!\n";
    print {$out} <<"_EOC_";
bind 127.0.0.1
port $redis_port
unixsocket $dir/redis.sock
daemonize yes
pidfile $dir/redis.pid
logfile $dir/redis.log
dir $dir
save ""
appendonly no
maxmemory-policy noeviction
_EOC_
    close $out or die "cannot write: $!\n";
}

# ---- what the harness adds to a block

my $records = <<'_EOC_';
route shop.test shop
inst shop a @a
_EOC_

# Two hosts: plain.test has one app; rules.test has rules, headers, and a policy
# that needs a location of its own.
my $PLAIN_AND_RULED = <<'_EOC_';
route plain.test plain
rules rules.test [{"path":"/","headers":{"request":{"set":{"X-Rule":"yes"}},"response":{"set":{"X-Frame-Options":"DENY"}}},"to":[{"app":"ruled"}]}]
policy ruled {"retry_5xx":true,"sticky":{}}
inst plain a @a
inst ruled b @b
_EOC_

# What no block may log unless it says so. A body that goes by way of a file is
# no trouble.
my $TROUBLE = [qr/\[(?:warn|error)\](?!.* is buffered to a temporary file)/];

my $in_trouble;

my $LOCATION = <<'_EOC_';
        location / {
            include pointsman/location.conf;
        }
_EOC_

sub http_config {
    my ($block, %without) = @_;
    my $setup = $block->setup // '';
    my $hook = $block->hook // '';
    my $own = $block->http_config // '';
    my $listen = join ' ',
        map { "listen 127.0.0.$_:\$TEST_NGINX_SERVER_PORT;" } 2 .. 8;
    # before ;; (what LuaJIT was built with): t/run's other platforms
    my $libraries = $ENV{POINTSMAN_TEST_LUA_LIBRARIES};
    $libraries = defined $libraries ? "$libraries/?.lua;" : '';
    my $text = <<"_EOC_";
    lua_package_path "\$TEST_NGINX_LUA/?.lua;$root/t/lib/?.lua;$libraries;";
    lua_shared_dict testkit 1m;
_EOC_
    if ($without{http} || defined $block->trusted) {
        my $http = slurp("$root/nginx/pointsman/http.conf");
        $http =~ s/^lua_shared_dict .*$//mg if $without{http};
        if (defined(my $network = $block->trusted)) {
            $http =~ s/include \S*trusted_proxies.conf;/$network 1;/
                or die "http.conf names no trusted proxies\n";
        }
        $text .= $http;
    } else {
        $text .= "    include pointsman/http.conf;\n";
    }
    $text .= <<"_EOC_" unless $without{setup};
    init_by_lua_block {
        require("pointsman").setup {
            redis = "redis://127.0.0.1:$redis_port",
            prefix = "$ENV{POINTSMAN_TEST_PREFIX}",
            $setup
        }
        require("between")
        $hook
    }
_EOC_
    for my $name (qw(start log)) {
        $text .= "    include pointsman/$name.conf;\n"
            unless $without{$name};
    }
    return $text . <<"_EOC_" . $own;
    server {
        $listen
        client_max_body_size 0;
        client_body_buffer_size 1m;
        access_log off;
        # else the log handler at http level would count here, too
        log_by_lua_block { return }
        location / {
            content_by_lua_block { require("app").run() }
        }
    }
_EOC_
}

# What the README tells to put into an nginx, with this test's addresses and
# folders, for 127.0.0.20. What the harness itself has already is left out.
sub readme_config {
    my ($text) = slurp("$root/README.md") =~ /^```nginx\n.*?^http \{\n(.*?)^\}\n```/ms
        or die "the README has no nginx lines\n";
    my $put = sub {
        my ($from, $to) = @_;
        $text =~ s/$from/$to/ or die "the README's nginx lines lack $from\n";
    };
    $put->(qr/^ *lua_package_path .*\n/m, '');
    $put->(qr{^ *include \S*pointsman/http\.conf;\n}m, '');
    $put->(qr/redis = "redis:[^"]*"/,
           qq{redis = "redis://127.0.0.1:$redis_port", }
           . qq{prefix = "$ENV{POINTSMAN_TEST_PREFIX}"});
    $put->(qr/\b$_\(\)/, qq{ngx.shared.testkit:incr("$_", 1, 0)})
        for qw(my_own_start my_own_log);
    $put->(qr/listen 80 default_server/,
           'listen 127.0.0.20:$TEST_NGINX_SERVER_PORT');
    $put->(qr/listen 127\.0\.0\.1:8082/,
           'listen 127.0.0.21:$TEST_NGINX_SERVER_PORT');
    $text =~ s{/srv/www}{\$TEST_NGINX_SERVER_ROOT/html}g;
    return $text;
}

# `http2` is a parameter of `listen` up to nginx 1.25.0, and a directive of its
# own from then on, where the parameter makes a warning.
sub spell_http2 {
    my ($text) = @_;
    $text =~ s/\b(listen [^;]*?) http2\b([^;]*;)/$1$2 http2 on;/g
        if $Test::Nginx::Util::NginxVersion >= 1.025001;
    return $text;
}

sub server_config {
    my ($block, %without) = @_;
    my $text = $block->config // '';
    $text .= <<'_EOC_';
        add_header X-Worker $pid always;
        add_header X-Tried $upstream_addr always;
        location = /worker { return 204; }
_EOC_
    for my $name (qw(server status)) {
        $text .= "        include pointsman/$name.conf;\n"
            unless $without{$name};
    }
    $text .= $LOCATION unless $without{location} || defined $block->config;
    if (defined(my $lua = $block->lua)) {
        my $wait = $without{redis} || $without{records}
            || defined $block->at_once ? '' : 't.applied()';
        $text .= <<"_EOC_";
        location = /t {
            lua_socket_log_errors off;
            content_by_lua_block {
                require("kit").run(function(t)
$wait
$lua
                end)
            }
        }
_EOC_
    }
    return $text;
}

sub seed {
    my ($block, %without) = @_;
    start_redis();
    redis('FLUSHALL');
    publish($block->records // $records) unless $without{records};
    for my $line (split /\n/, $block->redis // '') {
        my @words = map { /^'(.*)'$/ ? $1 : $_ } $line =~ /'[^']*'|\S+/g;
        redis(@words) if @words;
    }
}

add_block_preprocessor(sub {
    my $block = shift;
    my %without = map { $_ => 1 } split ' ', $block->without // '';

    if ($without{redis}) {
        stop_redis();
    } else {
        seed($block, %without);
    }
    workers($block->workers // 1);
    my $http_config = http_config($block, %without);
    my $config = server_config($block, %without);
    $block->set_value(http_config => spell_http2($http_config));
    $block->set_value(config => spell_http2($config));
    if (defined $block->lua) {
        $block->set_value(request => "GET /t\n");
    }
    if (!defined $block->no_error_log && !defined $block->must_die
        && ($in_trouble || !defined $block->error_log)) {
        # Test::Nginx itself looks for what is worse.
        $block->set_value(no_error_log => $in_trouble ? '[alert]' : $TROUBLE);
    }
});

# With `trouble`, blocks of this file make nginx log warnings and errors. With
# `plain_and_ruled`, their hosts are by default plain.test and rules.test.
sub run_edge_tests {
    my (%options) = @_;
    $in_trouble = $options{trouble};
    $records = $PLAIN_AND_RULED if $options{plain_and_ruled};
    Test::More::plan('no_plan');
    run_tests();
}

write_redis_conf();
start_redis();
env_to_nginx(grep { /^POINTSMAN_TEST_|^TEST_NGINX_SERVER_PORT$/ } keys %ENV);
no_root_location();
master_on();
timeout(20);
worker_connections(8192);

# Runs before Test::Nginx's own END block, which would not find the pid file of
# its nginx any more.
$SIG{INT} = $SIG{TERM} = sub { exit 130 };
END {
    if (defined $owner && $$ == $owner) {
        my $status = $?;
        stop_process("$ENV{TEST_NGINX_SERVROOT}/logs/nginx.pid");
        stop_redis();
        stop_process($_) for @beside;
        if ($status && $ENV{POINTSMAN_TEST_KEEP}) {
            warn "kept: $dir\n";
        } else {
            remove_tree($dir);
        }
        rmdir for @claims;
        $? = $status;
    }
}

1;
