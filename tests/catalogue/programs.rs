//! The programs, how each is started, and what is known of it: written down before it is tried.

/// A program with a lock.
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// The kinds that are turned on, as TOML has them.
    pub kinds: &'static str,
    /// A rule besides, for a lock whose place is the program's to say.
    pub rule: &'static str,
    /// A command that tells whether it is installed.
    pub needs: &'static str,
    /// Whether CI installs it.
    pub in_ci: bool,
    /// What is made before the first life, in the container.
    pub setup: &'static str,
    /// The program, which stays.
    pub start: &'static str,
    /// Whether it serves; its number is $PROGRAM.
    pub serves: &'static str,
    /// Its lock.
    pub lock: &'static str,
    /// What becomes of it without sexton: dead, live, own, new host, empty.
    pub bare: &'static str,
    /// The same with sexton, where nothing says that the container is alone.
    pub without_word: &'static str,
}

/// It was not yet seen in every situation, but beside each that lives.
pub const UNTRIED: &str = "";
const ALL: &str = "serves | serves | serves | serves | serves";

/// All of them.
pub const PROGRAMS: &[Program] = &[
    Program {
        name: "xvfb",
        kinds: "\"xvfb\"",
        rule: "",
        needs: "command -v Xvfb",
        in_ci: true,
        setup: "",
        start: "exec Xvfb :99 -screen 0 320x240x24 -nolisten tcp",
        serves: "grep -q ' /tmp/.X11-unix/X99$' /proc/net/unix",
        lock: "/tmp/.X99-lock",
        bare: "serves | exit 1 | exit 1 | serves | serves",
        without_word: ALL,
    },
    Program {
        name: "dbus",
        kinds: "\"dbus\"",
        rule: "",
        needs: "command -v dbus-daemon",
        in_ci: true,
        setup: "mkdir -p /run/dbus",
        start: "exec dbus-daemon --system --nofork",
        serves: "dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames",
        lock: "/run/dbus/pid",
        bare: "exit 1 | exit 1 | exit 1 | exit 1 | exit 1",
        // An empty file names nobody.
        without_word: "serves | serves | serves | serves | exit 1",
    },
    Program {
        name: "rsyslogd",
        kinds: "\"rsyslogd\"",
        rule: "",
        needs: "command -v rsyslogd",
        in_ci: false,
        setup: "printf 'module(load=\"imuxsock\" SysSock.Name=\"/run/rsyslog.sock\")\\n*.* /tmp/log\\n' >/root/rsyslog.conf",
        start: "exec rsyslogd -n -f /root/rsyslog.conf",
        serves: "grep -q ' /run/rsyslog.sock$' /proc/net/unix",
        lock: "/run/rsyslogd.pid",
        bare: "serves | exit 1 | exit 1 | serves | exit 1",
        without_word: "serves | exit 1 | exit 1 | serves | exit 1",
    },
    Program {
        name: "squid",
        kinds: "\"squid\"",
        rule: "",
        needs: "command -v squid",
        in_ci: false,
        setup: "printf 'http_port 127.0.0.1:3128\\npid_filename /run/squid.pid\\naccess_log none\\ncache_log /tmp/squid.log\\n\
                shutdown_lifetime 0 seconds\\nvisible_hostname box\\n' >/root/squid.conf",
        start: "exec squid -N -f /root/squid.conf",
        serves: "exec bash -c ': >/dev/tcp/127.0.0.1/3128'",
        lock: "/run/squid.pid",
        bare: "serves | exit 1 | exit 1 | serves | serves",
        without_word: "serves | exit 1 | exit 1 | serves | serves",
    },
    Program {
        name: "twistd",
        kinds: "\"twistd\"",
        rule: "",
        needs: "command -v twistd3",
        in_ci: false,
        setup: "",
        start: "exec twistd3 --nodaemon --pidfile /root/twistd.pid web --listen tcp:8080:interface=127.0.0.1 --path /tmp",
        serves: "exec bash -c ': >/dev/tcp/127.0.0.1/8080'",
        lock: "/root/twistd.pid",
        bare: "serves | exit 1 | exit 1 | serves | exit 1",
        without_word: "serves | exit 1 | exit 1 | serves | exit 1",
    },
    Program {
        name: "gunicorn",
        kinds: "\"gunicorn\"",
        rule: "",
        needs: "command -v gunicorn",
        in_ci: false,
        setup: "printf 'def app(environ, start):\\n    start(\"200 OK\", [])\\n    return []\\n' >/root/app.py",
        start: "cd /root; exec gunicorn --bind 127.0.0.1:8080 --pid /run/gunicorn.pid app:app",
        serves: "exec bash -c ': >/dev/tcp/127.0.0.1/8080'",
        lock: "/run/gunicorn.pid",
        bare: "serves | exit 1 | serves | serves | serves",
        without_word: "serves | exit 1 | serves | serves | serves",
    },
    Program {
        name: "apache2",
        kinds: "\"apache2\"",
        rule: "",
        needs: "command -v apache2",
        in_ci: false,
        setup: "mkdir /run/apache2; m=/usr/lib/apache2/modules; printf \"ServerName x\\nLoadModule mpm_event_module $m/mod_mpm_event.so\\n\
                LoadModule authz_core_module $m/mod_authz_core.so\\nPidFile /run/apache2/apache2.pid\\nListen 127.0.0.1:8080\\n\
                DefaultRuntimeDir /run/apache2\\nErrorLog /tmp/error.log\\nUser www-data\\nGroup www-data\\n\" >/root/apache.conf",
        start: "exec apache2 -DFOREGROUND -f /root/apache.conf",
        serves: "exec bash -c ': >/dev/tcp/127.0.0.1/8080'",
        lock: "/run/apache2/apache2.pid",
        bare: "serves | exit 0 | serves | serves | exit 1",
        without_word: "serves | exit 0 | serves | serves | exit 1",
    },
    Program {
        name: "pulseaudio",
        kinds: "\"pulseaudio\"",
        rule: "",
        needs: "command -v pulseaudio",
        in_ci: false,
        setup: "mkdir -p -m 700 /run/user/0",
        start: "exec pulseaudio -n --daemonize=no --exit-idle-time=-1 --load=module-native-protocol-unix",
        serves: "grep -q ' /run/user/0/pulse/native$' /proc/net/unix",
        lock: "/run/user/0/pulse/pid",
        bare: UNTRIED,
        without_word: UNTRIED,
    },
    Program {
        name: "postgresql",
        kinds: "\"postgresql\"",
        rule: "",
        needs: "command -v /usr/lib/postgresql/*/bin/initdb",
        in_ci: false,
        setup: "mkdir -m 700 /root/pg; chown postgres:postgres /root/pg; cd /root/pg; \
                setpriv --reuid postgres --regid postgres --clear-groups /usr/lib/postgresql/*/bin/initdb -N -D /root/pg",
        start: "cd /root/pg; exec setpriv --reuid postgres --regid postgres --clear-groups \
                /usr/lib/postgresql/*/bin/postgres -D /root/pg -k /tmp -c listen_addresses=",
        serves: "exec /usr/lib/postgresql/*/bin/pg_isready -h /tmp",
        lock: "/root/pg/postmaster.pid",
        bare: UNTRIED,
        without_word: UNTRIED,
    },
    Program {
        name: "chromium",
        kinds: "\"chromium\"",
        rule: "",
        needs: "command -v chromium",
        in_ci: false,
        setup: "",
        start: "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                --user-data-dir=/root/.config/chromium --remote-debugging-port=9222 about:blank",
        serves: "bash -c ': >/dev/tcp/127.0.0.1/9222' && [ -e /root/.config/chromium/Default/History ]",
        lock: "/root/.config/chromium/SingletonLock",
        bare: UNTRIED,
        without_word: UNTRIED,
    },
    Program {
        name: "softfilelock",
        kinds: "",
        rule: "[[locks.rule]]\nkind = \"softfilelock\"\npath = \"s.lock\"\n",
        needs: "${SEXTON_CATALOGUE_PYTHON:-python3} -c 'import filelock; assert int(filelock.__version__[0]) > 3'",
        in_ci: false,
        setup: "printf 'import filelock, time\\nfilelock.SoftFileLock(\"/root/s.lock\", timeout=2).acquire()\\n\
                open(\"/tmp/up\", \"w\").close()\\ntime.sleep(1000)\\n' >/root/soft.py",
        start: "rm -f /tmp/up; exec ${SEXTON_CATALOGUE_PYTHON:-python3} /root/soft.py",
        serves: "[ -e /tmp/up ]",
        lock: "/root/s.lock",
        bare: UNTRIED,
        without_word: UNTRIED,
    },
    Program {
        name: "pid",
        kinds: "",
        rule: "[[locks.rule]]\nkind = \"pid\"\npath = \"p.pid\"\n",
        needs: "${SEXTON_CATALOGUE_PYTHON:-python3} -c 'import pid'",
        in_ci: false,
        setup: "printf 'import pid, time\\nwith pid.PidFile(\"p\", piddir=\"/root\"):\\n    open(\"/tmp/up\", \"w\").close()\\n\
                    time.sleep(1000)\\n' >/root/p.py",
        start: "rm -f /tmp/up; exec ${SEXTON_CATALOGUE_PYTHON:-python3} /root/p.py",
        serves: "[ -e /tmp/up ]",
        lock: "/root/p.pid",
        bare: UNTRIED,
        without_word: UNTRIED,
    },
];
