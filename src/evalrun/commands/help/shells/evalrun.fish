# Completion of evalrun for fish: evalrun completion fish > ~/.config/fish/completions/evalrun.fish

function __evalrun_ask # how many words the program takes
    set -l words (commandline -opc) (commandline -ct | string trim --left --chars "'\"")
    set -l after (math $argv[1] + 1)
    $words[1..$argv[1]] __complete $words[$after..-1] 2>/dev/null
end

complete -c evalrun -f -a '(__evalrun_ask 1)'
for python in python python3
    complete -c $python -n 'string match -qr "^\S+ -m evalrun " -- (commandline -cp)' -f -a '(__evalrun_ask 3)'
end
