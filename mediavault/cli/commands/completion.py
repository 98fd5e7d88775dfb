"""mediagit completion: print the script that lets a shell complete mediagit's command lines."""

import sys
from enum import Enum
from typing import Annotated, Final

import typer

from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.verb import Context, verb_app

app = verb_app()


class Shell(Enum):
    """A shell that there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


SCRIPTS: Final = {
    Shell.BASH: r"""# mediagit completion for bash
_mediagit() {
    local IFS=$'\n' cur=${COMP_WORDS[COMP_CWORD]} reply kind
    reply=$(command mediagit __complete bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null) || return
    kind=${reply%%$'\n'*}
    COMPREPLY=()
    if [[ $reply == *$'\n'* ]]; then
        COMPREPLY=(${reply#*$'\n'})
    fi
    if [[ $kind == files ]]; then
        COMPREPLY+=($(compgen -f -- "$cur"))
        compopt -o filenames 2>/dev/null
    elif [[ ${COMPREPLY[*]} == */* ]]; then
        compopt -o filenames 2>/dev/null
    fi
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _mediagit mediagit
""",
    Shell.ZSH: r"""#compdef mediagit
# mediagit completion for zsh
_mediagit() {
    local -a lines described folders
    local line
    lines=("${(@f)$(command mediagit __complete zsh "${LBUFFER}" 2>/dev/null)}")
    for line in "${(@)lines[2,-1]}"; do
        if [[ -z $line ]]; then
            continue
        elif [[ ${line%%$'\t'*} == */ ]]; then
            folders+=("${line%%$'\t'*}")
        else
            described+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
        fi
    done
    (( $#folders )) && compadd -S '' -- "${folders[@]}"
    (( $#described )) && _describe mediagit described
    [[ ${lines[1]} == files ]] && _files
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _mediagit "$@"
else
    compdef _mediagit mediagit
fi
""",
    Shell.FISH: r"""# mediagit completion for fish
function __mediagit_complete
    set -l lines (command mediagit __complete fish (commandline -cp) 2>/dev/null)
    if test (count $lines) -gt 1
        printf '%s\n' $lines[2..-1]
    end
    if test "$lines[1]" = files
        __fish_complete_path (commandline -ct)
    end
end
complete -c mediagit -f -a '(__mediagit_complete)'
""",
}


@app.command()
def completion(ctx: Context, shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish.")]) -> int:
    """Print a script that lets the Tab key complete verbs, flags, branches, tags, servers, files and settings.

    The shell is to read the script whenever it starts; the examples arrange that. The script asks mediagit itself, so
    that it need not be made again when mediagit is updated.

    \b
    mediagit completion bash >> ~/.bashrc                                  bash
    mediagit completion zsh > /usr/local/share/zsh/site-functions/_mediagit  zsh
    mediagit completion fish > ~/.config/fish/completions/mediagit.fish    fish
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    if console.json:
        console.document({"shell": shell.value, "script": SCRIPTS[shell]})
    else:
        sys.stdout.write(SCRIPTS[shell])
    return ExitCode.OK
