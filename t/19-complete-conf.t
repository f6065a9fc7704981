use strict;
use warnings;

use TestPointsman;

# The complete nginx.conf, as a user would start it: copied to a folder of its
# own, with other ports, as root (if we are) and as a user.

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use Time::HiRes qw(sleep time);

my $root = abs_path(dirname(__FILE__) . '/..');

sub run_or_die { system(@_) == 0 or die "failed: @_\n" }

sub installation {
    my ($edge, $status) = @_;
    my $prefix = tempdir(DIR => $ENV{POINTSMAN_TEST_DIR});
    run_or_die('cp', '-r', "$root/nginx", "$root/lua", $prefix);
    run_or_die('rm', '-rf', "$prefix/lua/unit");
    my $libraries = $ENV{POINTSMAN_TEST_LUA_LIBRARIES};
    run_or_die('cp', '-r', "$libraries/.", "$prefix/lua") if defined $libraries;
    my $conf = "$prefix/nginx/nginx.conf";
    run_or_die('perl', '-pi', '-e',
        "s/127.0.0.1:8080/127.0.0.1:$edge/; s/127.0.0.1:8082/127.0.0.1:$status/",
        $conf);
    if ($ENV{TEST_NGINX_LOAD_MODULES}) {
        open my $out, '>', "$prefix/nginx/modules.conf" or die $!;
        print {$out} map { "load_module $_;\n" }
            split ' ', $ENV{TEST_NGINX_LOAD_MODULES};
        close $out or die $!;
    }
    return $prefix;
}

# Returns the status line's code and the body.
sub get {
    my ($port, $host, $path) = @_;
    my $socket = IO::Socket::INET->new(
        PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 5) or return;
    print {$socket} "GET $path HTTP/1.0\r\nHost: $host\r\n\r\n";
    local $/;
    my $answer = <$socket> // return;
    my ($code) = $answer =~ m{^HTTP/1\.[01] (\d+)};
    my ($body) = $answer =~ /\r\n\r\n(.*)\z/s;
    return ($code, $body);
}

sub start {
    my ($prefix, $uid) = @_;
    my $pid = fork() // die "cannot fork: $!\n";
    return $pid if $pid;
    open STDERR, '>', "$prefix/error.log" or die $!;
    if ($uid) {
        ($(, $)) = ($uid, "$uid $uid");
        ($<, $>) = ($uid, $uid);
    }
    $ENV{POINTSMAN_REDIS} = "redis://127.0.0.1:$ENV{TEST_NGINX_REDIS_PORT}";
    $ENV{POINTSMAN_PREFIX} = $ENV{POINTSMAN_TEST_PREFIX};
    exec $ENV{TEST_NGINX_BINARY} || 'nginx', '-e', 'stderr', '-p', $prefix,
        '-c', 'nginx/nginx.conf' or die "cannot run nginx: $!\n";
}

sub slurp {
    my ($path) = @_;
    open my $in, '<', $path or return '';
    local $/;
    return <$in>;
}

# Kills the worker that runs the feed; another one must go on with it.
sub check_successor {
    my ($who, $edge, $status) = @_;
    my ($code, $body, $pid);
    my $deadline = time + 10;
    until ($pid) {
        ($code, $body) = get($status, 'localhost', '/pointsman/status');
        ($pid) = $body =~ /"pid":(\d+)/ if $code && $body =~ /"id":0\b/;
        last if time > $deadline;
    }
    kill KILL => $pid if $pid;
    my $revision = publish("route late.test shop\n");
    my $applied = 0;
    until ($applied >= $revision) {
        ($code, $body) = get($status, 'localhost', '/pointsman/status');
        ($applied) = $body =~ /"applied":(\d+)/ if $code;
        last if time > $deadline;
        sleep 0.02;
    }
    is($applied, $revision, "$who: the feed outlives its worker");
    ($code) = get($edge, 'late.test', '/');
    is($code, 503, "$who: and brings what is new");
}

sub check {
    my ($who, $uid) = @_;
    my ($edge, $status) = (free_port(), free_port());
    my $prefix = installation($edge, $status);
    run_or_die('chown', '-R', "$uid:$uid", $prefix) if $uid;
    chmod 0711, $ENV{POINTSMAN_TEST_DIR};
    my $pid = start($prefix, $uid);

    my ($code, $body);
    my $deadline = time + 10;
    until ((($code, $body) = get($edge, 'shop.test', '/')) && $code) {
        last if time > $deadline;
        sleep 0.02;
    }
    is($code, 503, "$who: it routes by what Redis holds");
    ($code) = get($edge, 'unknown.test', '/');
    is($code, 404, "$who: and by nothing else");
    ($code, $body) = get($status, 'localhost', '/pointsman/status');
    like("$code $body", qr/^200 \{.*"epoch"/, "$who: the status listener answers");
    ($code) = get($edge, 'localhost', '/pointsman/status');
    is($code, 404, "$who: and is not to be had from outside");

    check_successor($who, $edge, $status);

    kill QUIT => $pid;
    waitpid $pid, 0;
    is($?, 0, "$who: it ends when it is told to");
    my $log = slurp("$prefix/error.log");
    $log =~ s/^.* exited on signal 9$//m;       # the one that we killed
    unlike($log, qr/\[(?:warn|error|alert|emerg|crit)\]/,
           "$who: its log has nothing to complain of");
}

Test::More::plan('no_plan');
publish("route shop.test shop\n");
if ($> == 0) {
    check('root', 0);
    check('a user', scalar getpwnam 'nobody');
} else {
    check('a user', 0);
}
