# prun's completion for bash:  source <(prun completion bash)
# Nothing of the line is expanded or evaluated: prun takes it apart.

_prun() {
    local -a answer
    mapfile -t answer < <("$1" __complete bash "$COMP_WORDBREAKS" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    local paths=${answer[0]-none} word
    COMPREPLY=()
    for word in "${answer[@]:1}"; do
        word=${word%%$'\t'*}
        # A word that goes on gets no space; after a quoted one, readline puts the other quote and the space.
        case ${COMP_WORDS[COMP_CWORD]-}/$word in
        [\'\"]* | *[=:,]) COMPREPLY+=("$word") ;;
        *) COMPREPLY+=("$word ") ;;
        esac
    done
    [[ ${COMP_WORDS[COMP_CWORD]-} == [\'\"]* ]] || compopt -o nospace
    if ((${#COMPREPLY[@]} == 0)); then
        case $paths in
        files) compopt -o default +o nospace ;;
        dirs) compopt -o dirnames +o nospace ;;
        esac
    fi
}

complete -F _prun prun
