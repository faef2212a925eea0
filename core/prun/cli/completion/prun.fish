# prun's completion for fish:  prun completion fish | source

function __prun_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct | string trim --left --chars="'\"")
    set -l answer ($words[1] __complete fish $words[2..-1] "$current" 2>/dev/null)
    test (count $answer) -gt 0; or return
    printf '%s\n' $answer[2..-1]
    test $answer[1] = none; and return
    set -l option (string match -r -- '^-[^=]*=' "$current")
    set -l path (string replace -r -- '^-[^=]*=' '' "$current")
    switch $answer[1]
        case files
            string replace -r -- '^' "$option" (__fish_complete_path "$path")
        case dirs
            string replace -r -- '^' "$option" (__fish_complete_directories "$path")
    end
end

complete -c prun -f -a '(__prun_complete)'
