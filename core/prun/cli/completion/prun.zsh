#compdef prun
# prun's completion for zsh:  source <(prun completion zsh), after compinit; or as _prun in a directory of $fpath.

_prun() {
    local -a answer final open
    local line word paths
    answer=("${(@f)$("${(Q)words[1]}" __complete zsh "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    paths=${answer[1]:-none}
    for line in "${(@)answer[2,-1]}"; do
        word=${line%%$'\t'*}
        line=${word//:/\\:}${${line#$word}/$'\t'/:}
        # A word that goes on gets no space.
        if [[ $word == *[=:,] ]]; then open+=("$line"); else final+=("$line"); fi
    done
    (( $#final )) && _describe prun final
    (( $#open )) && _describe prun open -S ''
    [[ $paths == none ]] && return
    [[ $PREFIX == -*=* ]] && compset -P '*='
    if [[ $paths == dirs ]]; then _files -/; else _files; fi
}

# Not when it is sourced.
if [[ $funcstack[1] == _prun ]]; then
    _prun "$@"
elif (( $+functions[compdef] )); then
    compdef _prun prun
fi
