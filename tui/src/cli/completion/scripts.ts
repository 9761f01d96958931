// SPDX-License-Identifier: Apache-2.0
/** What the shells load. They only hand the words over to `marcher __complete` and show what it says. */
import { oneOf, type Session } from '../session.js';

const bash = `# marcher completion for bash: source <(marcher completion bash)
_marcher() {
  local cur words=() line word
  # COMP_WORDS is split at ":" and "=", which targets and addresses have: words are taken from the line itself.
  read -r -a words <<< "\${COMP_LINE:0:COMP_POINT}"
  cur=""
  if [[ "\${COMP_LINE:0:COMP_POINT}" != *[[:space:]] ]]; then
    cur="\${words[-1]}"
    unset 'words[-1]'
  fi
  # What readline keeps of the word: the part before the last ":" or "=" must not be inserted again.
  local kept="\${cur%"\${cur##*[:=]}"}"
  COMPREPLY=()
  while IFS= read -r line; do
    if [[ "$line" == ":files" ]]; then
      compopt -o filenames 2>/dev/null
      while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$cur")
      continue
    fi
    word="\${line%%$'\\t'*}"
    COMPREPLY+=("\${word#"$kept"}")
  done < <("\${words[0]}" __complete "\${words[@]:1}" "$cur" 2>/dev/null)
}
complete -F _marcher marcher
`;

const zsh = `#compdef marcher
# marcher completion for zsh: marcher completion zsh > "\${fpath[1]}/_marcher"
_marcher() {
  local line value description
  local -a shown
  local files=0
  while IFS= read -r line; do
    if [[ "$line" == ":files" ]]; then files=1; continue; fi
    value="\${line%%$'\\t'*}"
    description="\${line#*$'\\t'}"
    [[ "$description" == "$line" ]] && description=""
    value="\${value//:/\\\\:}"
    if [[ -n "$description" ]]; then shown+=("$value:$description"); else shown+=("$value"); fi
  done < <("\${words[1]}" __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)
  (( \${#shown} )) && _describe 'marcher' shown
  (( files )) && _files
}
if [[ "\${funcstack[1]}" == "_marcher" ]]; then _marcher "$@"; else compdef _marcher marcher; fi
`;

const fish = `# marcher completion for fish: marcher completion fish > ~/.config/fish/completions/marcher.fish
function __marcher_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path "$current"
        else
            echo $line
        end
    end
end
complete -c marcher -f -a '(__marcher_complete)'
`;

export async function completion(session: Session, _options: unknown, shell: string): Promise<undefined> {
  const script = { bash, zsh, fish }[oneOf(shell, 'SHELL', ['bash', 'zsh', 'fish'])];
  await session.write(script);
}
