# Completion of evalrun for bash: source <(evalrun completion bash)

_evalrun_ask() { # program and its arguments, then --, then the words typed
    local word=$2 full=$_evalrun_full line
    # Readline replaces only what follows the last of = : in the word, so that much is taken off each candidate.
    local typed=${full%"$word"}
    COMPREPLY=()
    while IFS= read -r line; do
        [[ $line == "$full"* ]] || continue
        COMPREPLY+=("${line#"$typed"}")
        [[ $line == *[=/,\(] ]] && compopt -o nospace
    done < <("${_evalrun_program[@]}" __complete "${_evalrun_words[@]}" 2>/dev/null)
}

_evalrun_split() { # the line up to the cursor into words as the shell would read them, an open quote included
    local line=${COMP_LINE:0:COMP_POINT} char word='' quote='' started='' index
    _evalrun_words=()
    for ((index = 0; index < ${#line}; index++)); do
        char=${line:index:1}
        if [[ -n $quote ]]; then
            if [[ $char == "$quote" ]]; then quote=''; else word+=$char; fi
        elif [[ $char == [\'\"] ]]; then
            quote=$char started=1
        elif [[ $char == \\ ]]; then
            index=$((index + 1)) word+=${line:index:1} started=1
        elif [[ $char == [[:space:]] ]]; then
            [[ -n $word || -n $started ]] && _evalrun_words+=("$word")
            word='' started=''
        else
            word+=$char
        fi
    done
    _evalrun_words+=("$word")
    _evalrun_full=$word
}

_evalrun() {
    local _evalrun_words _evalrun_full _evalrun_program=("$1")
    _evalrun_split
    _evalrun_words=("${_evalrun_words[@]:1}")
    _evalrun_ask "$1" "$2"
}

_evalrun_python() { # python -m evalrun ...; file names for whatever else python is given
    local _evalrun_words _evalrun_full _evalrun_program=("$1" -m evalrun)
    _evalrun_split
    if [[ ${_evalrun_words[1]} == -m && ${_evalrun_words[2]} == evalrun && ${#_evalrun_words[@]} -gt 3 ]]; then
        _evalrun_words=("${_evalrun_words[@]:3}")
        _evalrun_ask "$1" "$2"
    else
        compopt -o default
        COMPREPLY=()
    fi
}

complete -F _evalrun evalrun
complete -F _evalrun_python python python3
