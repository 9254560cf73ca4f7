# Completion of evalrun for zsh, after compinit: source <(evalrun completion zsh)

_evalrun_ask() { # how many words the program takes
    local -a program typed open closed
    local line
    program=("${(@)words[1,$1]}")
    typed=("${(@Q)words[$1+1,CURRENT-1]}" "${(Q)PREFIX}")
    while IFS= read -r line; do
        if [[ $line == *[=/,\(] ]]; then open+=("$line"); else closed+=("$line"); fi
    done < <("${program[@]}" __complete "${typed[@]}" 2>/dev/null)
    compadd -S '' -a open
    compadd -a closed
}

_evalrun() { _evalrun_ask 1 }

_evalrun_python() { # python -m evalrun ...; what zsh knows of python for whatever else
    if [[ $words[2] == -m && $words[3] == evalrun && $CURRENT -gt 3 ]]; then
        _evalrun_ask 3
    else
        _python "$@"
    fi
}

compdef _evalrun evalrun
compdef _evalrun_python python python3
