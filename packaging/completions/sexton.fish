# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sexton_global_optspecs
    string join \n grace= kill-after= g/group rewrite= delay= stop-signal= stop-sequence= wait= e/remap-exit= lock-root= no-locks sweep-timeout= config= preset= tool-shell lock-action= start-window= lock-report-after= control= v log-format= log= p/parent-death= w/warn-reaped h/help version s
end

function __fish_sexton_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sexton_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sexton_using_subcommand
    set -l cmd (__fish_sexton_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sexton -n "__fish_sexton_needs_command" -l grace -d 'Main process\'s window to stop' -r
complete -c sexton -n "__fish_sexton_needs_command" -l kill-after -d 'Then TERM to all, this long; KILL' -r
complete -c sexton -n "__fish_sexton_needs_command" -l rewrite -d 'Send signal R in the place of S; 0 drops it' -r
complete -c sexton -n "__fish_sexton_needs_command" -l delay -d 'Hold this signal for D before passing it on' -r
complete -c sexton -n "__fish_sexton_needs_command" -l stop-signal -d 'Asks for a stop (TERM, INT, RTMIN+3, PWR)' -r
complete -c sexton -n "__fish_sexton_needs_command" -l stop-sequence -d 'In place of --grace: TERM:20s,INT:5s,KILL' -r
complete -c sexton -n "__fish_sexton_needs_command" -l wait -d 'all: wait for what the command leaves behind' -r -f -a "main\t''
all\t''"
complete -c sexton -n "__fish_sexton_needs_command" -s e -l remap-exit -d 'Turn this exit code into 0; repeatable' -r
complete -c sexton -n "__fish_sexton_needs_command" -l lock-root -d 'State directory with locks; repeatable. Without it, OpenClaw\'s is found' -r -F
complete -c sexton -n "__fish_sexton_needs_command" -l sweep-timeout -d 'What a sweep may take at start' -r
complete -c sexton -n "__fish_sexton_needs_command" -l config -d 'Read more settings from this file' -r -F
complete -c sexton -n "__fish_sexton_needs_command" -l preset -d 'Begin with what suits a gateway: hermes, ...' -r
complete -c sexton -n "__fish_sexton_needs_command" -l lock-action -d 'Of a lock left behind: remove, or hand-over' -r -f -a "remove\t''
hand-over\t''"
complete -c sexton -n "__fish_sexton_needs_command" -l start-window -d 'How long a lock that was handed over is left to the starting gateway' -r
complete -c sexton -n "__fish_sexton_needs_command" -l lock-report-after -d 'Report locks that are held longer than this' -r
complete -c sexton -n "__fish_sexton_needs_command" -l control -d 'The control socket\'s path, or off' -r -F
complete -c sexton -n "__fish_sexton_needs_command" -l log-format -d 'Log lines as text or json' -r -f -a "text\t''
json\t''"
complete -c sexton -n "__fish_sexton_needs_command" -l log -d 'Least level to log: error, warn, info, debug, trace' -r
complete -c sexton -n "__fish_sexton_needs_command" -s p -l parent-death -d 'Signal for sexton itself when its parent dies' -r
complete -c sexton -n "__fish_sexton_needs_command" -s g -l group -d 'Pass signals to the command\'s whole process group'
complete -c sexton -n "__fish_sexton_needs_command" -l no-locks -d 'Leave all locks alone, whatever the roots'
complete -c sexton -n "__fish_sexton_needs_command" -l tool-shell -d 'Run the command\'s tools through sexton-sh'
complete -c sexton -n "__fish_sexton_needs_command" -s v -d 'More log lines: -v info, -vv debug, -vvv trace'
complete -c sexton -n "__fish_sexton_needs_command" -s w -l warn-reaped -d 'Warn about each adopted process that was reaped'
complete -c sexton -n "__fish_sexton_needs_command" -s h -l help -d 'Print this help'
complete -c sexton -n "__fish_sexton_needs_command" -l version -d 'Print the version'
complete -c sexton -n "__fish_sexton_needs_command" -s s -d 'Accepted for tini\'s sake: sexton is always a subreaper'
complete -c sexton -n "__fish_sexton_needs_command" -a "check" -d 'Reads the configuration as a run would, starts nothing, and prints the plan: a configuration file in which every value is given'
complete -c sexton -n "__fish_sexton_needs_command" -a "install" -d 'Copies sexton, sexton-watch and the link sexton-sh into a directory: a volume that an image without sexton is started with. It needs no shell and no cp'
complete -c sexton -n "__fish_sexton_needs_command" -a "locks" -d 'Shows every lock in the lock roots: held, orphaned or unclear, and why'
complete -c sexton -n "__fish_sexton_needs_command" -a "tool" -d 'Runs a command with a deadline, and ends everything that it started. When the time is up, or sexton gets TERM, INT or HUP, or its parent dies: TERM to the whole tree, a window, then KILL until nothing is left'
complete -c sexton -n "__fish_sexton_needs_command" -a "doctor" -d 'Looks at everything that a gateway\'s stop, start and locks depend on'
complete -c sexton -n "__fish_sexton_needs_command" -a "measure" -d 'Says in numbers how a gateway is, and of two where the second is worse'
complete -c sexton -n "__fish_sexton_needs_command" -a "status" -d 'Show how the gateway, its units, its tools and all processes are'
complete -c sexton -n "__fish_sexton_needs_command" -a "ps" -d 'Show the processes, and whose each is'
complete -c sexton -n "__fish_sexton_needs_command" -a "health" -d 'Say in one line whether the gateway is well, and how slow; within a second'
complete -c sexton -n "__fish_sexton_needs_command" -a "stop" -d 'Stop the gateway by its ladder, as TERM would; again for the next stage'
complete -c sexton -n "__fish_sexton_needs_command" -a "restart" -d 'Stop the gateway, or a unit, by its ladder and start it again'
complete -c sexton -n "__fish_sexton_needs_command" -a "signal" -d 'Send a signal to the gateway, or to a unit'
complete -c sexton -n "__fish_sexton_needs_command" -a "cancel" -d 'End a tool as its deadline would'
complete -c sexton -n "__fish_sexton_needs_command" -a "reload" -d 'Read the configuration file again'
complete -c sexton -n "__fish_sexton_using_subcommand check" -l config -d 'The file to check' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand check" -l preset -d 'The preset to begin with' -r
complete -c sexton -n "__fish_sexton_using_subcommand check" -l json -d 'Print JSON'
complete -c sexton -n "__fish_sexton_using_subcommand check" -s v -d 'More log lines'
complete -c sexton -n "__fish_sexton_using_subcommand locks" -l root -d 'A directory with locks; repeatable' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand locks" -l kinds -d 'Kinds of \'sexton locks kinds\' to look for as well, or \'auto\'' -r
complete -c sexton -n "__fish_sexton_using_subcommand locks" -l verdict -d 'Only these: held, orphaned, unclear, skipped, not-judged; repeatable' -r -f -a "held\t''
orphaned\t''
unclear\t''
skipped\t''
not-judged\t''"
complete -c sexton -n "__fish_sexton_using_subcommand locks" -l explain -d 'The evidence for one lock, step by step' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand locks" -l lock-report-after -d 'Call a lock held too long after this, besides its own limit' -r
complete -c sexton -n "__fish_sexton_using_subcommand locks" -l config -d 'Read more settings from this file' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand locks" -l sweep-timeout -d 'How long a root may take' -r
complete -c sexton -n "__fish_sexton_using_subcommand locks" -l dry-run -d 'With sweep: only show what would be removed'
complete -c sexton -n "__fish_sexton_using_subcommand locks" -l json -d 'Print JSON'
complete -c sexton -n "__fish_sexton_using_subcommand locks" -s v -d 'More log lines'
complete -c sexton -n "__fish_sexton_using_subcommand tool" -l timeout -d 'How long it may run; for ever without it' -r
complete -c sexton -n "__fish_sexton_using_subcommand tool" -l grace -d 'Window of the whole tree after TERM' -r
complete -c sexton -n "__fish_sexton_using_subcommand tool" -l name -d 'Its name in the record and in the status' -r
complete -c sexton -n "__fish_sexton_using_subcommand tool" -l record -d 'Add one line of JSON about the run to a file, or to a descriptor' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand tool" -l wait -d 'all: wait for what it leaves behind, too' -r -f -a "leader\t''
all\t''"
complete -c sexton -n "__fish_sexton_using_subcommand tool" -s v -d 'More log lines: -v info, -vv debug, -vvv trace'
complete -c sexton -n "__fish_sexton_using_subcommand doctor" -l stop-timeout -d 'What Docker or Kubernetes waits for before it kills' -r
complete -c sexton -n "__fish_sexton_using_subcommand doctor" -l deadline -d 'What one check may take' -r
complete -c sexton -n "__fish_sexton_using_subcommand doctor" -l total -d 'What all checks together may take' -r
complete -c sexton -n "__fish_sexton_using_subcommand doctor" -l json -d 'Print one JSON object, at the end'
complete -c sexton -n "__fish_sexton_using_subcommand measure" -l runs -d 'Runs of each; fewer than 9 prove nothing' -r
complete -c sexton -n "__fish_sexton_using_subcommand measure" -l duration -d 'How long each is watched once it is well' -r
complete -c sexton -n "__fish_sexton_using_subcommand measure" -l start-within -d 'When its start is given up' -r
complete -c sexton -n "__fish_sexton_using_subcommand measure" -l health-url -d 'Where it is asked; that of OpenClaw is known' -r
complete -c sexton -n "__fish_sexton_using_subcommand measure" -l ready-url -d 'Where it tells of its event loop; that of OpenClaw is known' -r
complete -c sexton -n "__fish_sexton_using_subcommand measure" -l version-command -d 'Its command line says its version; that of OpenClaw is known' -r
complete -c sexton -n "__fish_sexton_using_subcommand measure" -l doctor-command -d 'Its own doctor; that of OpenClaw is known' -r
complete -c sexton -n "__fish_sexton_using_subcommand measure" -l command-within -d 'When these two are given up' -r
complete -c sexton -n "__fish_sexton_using_subcommand measure" -l state -d 'Each run gets a copy of it [default: an empty one]' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand measure" -l fail-if -d 'End with 1: p99>1.5x, stop>20s, memory>2GiB; repeatable' -r
complete -c sexton -n "__fish_sexton_using_subcommand measure" -l json -d 'The report as JSON; - is standard output' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand measure" -l markdown -d 'The report as Markdown' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand measure" -l html -d 'The report as a page with curves' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand status" -l control -d 'The control socket' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand status" -l deadline -d 'How long sexton may take to answer' -r
complete -c sexton -n "__fish_sexton_using_subcommand status" -l watch -d 'Again and again'
complete -c sexton -n "__fish_sexton_using_subcommand status" -l json -d 'Print JSON'
complete -c sexton -n "__fish_sexton_using_subcommand ps" -l control -d 'The control socket' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand ps" -l deadline -d 'How long sexton may take to answer' -r
complete -c sexton -n "__fish_sexton_using_subcommand ps" -l json -d 'Print JSON'
complete -c sexton -n "__fish_sexton_using_subcommand health" -l control -d 'The control socket' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand health" -l deadline -d 'How long sexton may take to answer' -r
complete -c sexton -n "__fish_sexton_using_subcommand health" -l json -d 'Print JSON'
complete -c sexton -n "__fish_sexton_using_subcommand stop" -l control -d 'The control socket' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand stop" -l deadline -d 'How long sexton may take to answer' -r
complete -c sexton -n "__fish_sexton_using_subcommand stop" -l json -d 'Print JSON'
complete -c sexton -n "__fish_sexton_using_subcommand restart" -l control -d 'The control socket' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand restart" -l deadline -d 'How long sexton may take to answer' -r
complete -c sexton -n "__fish_sexton_using_subcommand restart" -l json -d 'Print JSON'
complete -c sexton -n "__fish_sexton_using_subcommand signal" -l control -d 'The control socket' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand signal" -l deadline -d 'How long sexton may take to answer' -r
complete -c sexton -n "__fish_sexton_using_subcommand signal" -l json -d 'Print JSON'
complete -c sexton -n "__fish_sexton_using_subcommand cancel" -l control -d 'The control socket' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand cancel" -l deadline -d 'How long sexton may take to answer' -r
complete -c sexton -n "__fish_sexton_using_subcommand cancel" -l json -d 'Print JSON'
complete -c sexton -n "__fish_sexton_using_subcommand reload" -l control -d 'The control socket' -r -F
complete -c sexton -n "__fish_sexton_using_subcommand reload" -l deadline -d 'How long sexton may take to answer' -r
complete -c sexton -n "__fish_sexton_using_subcommand reload" -l json -d 'Print JSON'
