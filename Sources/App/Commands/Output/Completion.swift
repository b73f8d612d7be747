/// Scripts that make a shell complete commands, options and values. They ask `bramble nodes --names` for nodes.
enum Completion {
    enum Shell: String, CaseIterable, Sendable { case bash, zsh, fish }

    static func script(for shell: Shell, root: Command) -> String {
        switch shell {
        case .bash: bash(root)
        case .zsh: zsh(root)
        case .fish: fish(root)
        }
    }

    /// Every place in the tree, the root with an empty path.
    private static func places(_ command: Command, _ path: [String] = []) -> [(path: [String], command: Command)] {
        [(path, command)] + command.children.flatMap { places($0, path + [$0.name]) }
    }
    private static func options(_ command: Command, at path: [String]) -> [ParameterSpec] {
        path.isEmpty
            ? Connection.parameters + [Command.help.spec] : command.isGroup ? [Command.help.spec] : command.allOptions
    }
    private static func written(_ option: ParameterSpec) -> [String] {
        (option.short.map { ["-\($0)"] } ?? []) + ["--\(option.name)"]
    }
    /// Options that take a word along, wherever they are known.
    private static func takers(_ root: Command) -> [String] {
        Set(places(root).flatMap { options($0.command, at: $0.path) }.filter(\.takesValue).flatMap(written)).sorted()
    }

    // MARK: bash

    private static func bash(_ root: Command) -> String {
        var words = ""
        var values = ""
        var arguments = ""
        func add(_ option: ParameterSpec, at place: String) {
            guard option.takesValue, let action = bashAction(option.completion, root) else { return }
            let pattern = written(option).map { "\(place) \($0)\"" }.joined(separator: " | ")
            values += "    \(pattern)) \(action); return ;;\n"
        }
        for (path, command) in places(root) {
            let place = path.joined(separator: " ")
            let offered = command.children.map(\.name) + options(command, at: path).map { "--\($0.name)" }
            words += "    \"\(place)\") words='\(offered.joined(separator: " "))' ;;\n"
            for option in command.options { add(option, at: "\"\(place)") }
            if let first = command.arguments.first, let action = bashAction(first.completion, root) {
                arguments += "    \"\(place)\") [[ $current == -* ]] || { \(action); return; } ;;\n"
            }
        }
        for option in Connection.parameters { add(option, at: "*\"") }
        let takers = takers(root)
        let paths = places(root).filter { !$0.path.isEmpty }.map { "\"\($0.path.joined(separator: " "))\"" }
        return """
            # bash completion for bramble. To use it at once: source <(bramble completion bash)
            _bramble() {
                local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
                local place= extra=0 skip=0 word words= i
                # bash takes --name=value apart at the equals sign.
                if [[ $current == = ]]; then
                    current=
                elif [[ $previous == = ]]; then
                    previous=${COMP_WORDS[COMP_CWORD - 2]}
                fi
                for ((i = 1; i < COMP_CWORD; i++)); do
                    word=${COMP_WORDS[i]}
                    if ((skip)); then
                        [[ $word == = ]] || skip=0
                        continue
                    fi
                    case $word in
                    \(takers.joined(separator: " | "))) skip=1 ;;
                    -*) ;;
                    *)
                        case "${place:+$place }$word" in
                        \(paths.joined(separator: " | ")))
                            place=${place:+$place }$word ;;
                        *) extra=$((extra + 1)) ;;
                        esac ;;
                    esac
                done
                COMPREPLY=()
                # The value of an option: what is known of it, else nothing.
                case "$place $previous" in
            \(values)    \(takers.map { "*\" \($0)\"" }.joined(separator: " | "))) return ;;
                esac
                case "$place" in
            \(words)    esac
                if ((extra == 0)); then
                    case "$place" in
            \(arguments)        esac
                fi
                _bramble_words "$words"
            }
            _bramble_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current"); }
            _bramble_files() {
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen "$1" -- "$current")
            }
            complete -F _bramble bramble

            """
    }

    private static func bashAction(_ completion: ParameterSpec.Completion, _ root: Command) -> String? {
        switch completion {
        case .nothing: nil
        case .files: "_bramble_files -f"
        case .directories: "_bramble_files -d"
        case .nodes: "_bramble_words \"$(bramble nodes --names --timeout 1 2>/dev/null)\""
        case .waiting: "_bramble_words \"$(bramble node waiting --names --timeout 1 2>/dev/null)\""
        case .commands: "_bramble_words '\(root.children.map(\.name).joined(separator: " "))'"
        case .words(let words): "_bramble_words '\(words.joined(separator: " "))'"
        }
    }

    // MARK: zsh

    private static func zsh(_ root: Command) -> String {
        var functions = ""
        for (path, command) in places(root).reversed() {
            let name = (["_bramble"] + path).joined(separator: "_")
            var lines = options(command, at: path).map { "        " + zshOption($0, root) }
            for (index, argument) in command.arguments.enumerated() {
                lines.append("        '\(index + 1):\(zshText(argument.name)):\(zshAction(argument.completion, root))'")
            }
            guard command.isGroup else {
                functions += "\(name)() {\n    _arguments -s \\\n\(lines.joined(separator: " \\\n"))\n}\n\n"
                continue
            }
            lines += ["        '1: :->command'", "        '*:: :->rest'"]
            let list = command.children.map { "            '\($0.name):\(zshText($0.summary))'" }.joined(
                separator: "\n")
            let calls = command.children.map { "        \($0.name)) \(name)_\($0.name) ;;" }.joined(separator: "\n")
            functions += """
                \(name)() {
                    local context state state_descr line
                    typeset -A opt_args
                    _arguments -C \\
                \(lines.joined(separator: " \\\n"))
                    case $state in
                    command)
                        local -a commands=(
                \(list)
                        )
                        _describe -t commands command commands ;;
                    rest)
                        case $line[1] in
                \(calls)
                        esac ;;
                    esac
                }


                """
        }
        return """
            #compdef bramble
            # zsh completion for bramble. To use it at once: source <(bramble completion zsh)
            __bramble_nodes() {
                local -a names=(${(f)"$(bramble nodes --names --timeout 1 2>/dev/null)"})
                compadd -a names
            }
            __bramble_waiting() {
                local -a names=(${(f)"$(bramble node waiting --names --timeout 1 2>/dev/null)"})
                compadd -a names
            }

            \(functions)if [ "$funcstack[1]" = _bramble ]; then
                _bramble "$@"
            else
                compdef _bramble bramble
            fi

            """
    }

    private static func zshOption(_ option: ParameterSpec, _ root: Command) -> String {
        let value = option.takesValue ? ":\(zshText(option.placeholder)):\(zshAction(option.completion, root))" : ""
        let text = "[\(zshText(option.help))]\(value)'"
        // How a value may follow: --name=value or --name value, -nvalue or -n value.
        let long = "--\(option.name)" + (option.takesValue ? "=" : "")
        let star = option.isRepeatable ? "*" : ""
        guard let short = option.short else { return "'\(star)\(long)\(text)" }
        // One of -y and --yes rules out the other, unless it may be repeated.
        let rule = option.isRepeatable ? "*" : "(-\(short) --\(option.name))"
        return "'\(rule)'{-\(short)\(option.takesValue ? "+" : ""),\(long)}'\(text)"
    }

    private static func zshAction(_ completion: ParameterSpec.Completion, _ root: Command) -> String {
        switch completion {
        case .nothing: " "
        case .files: "_files"
        case .directories: "_files -/"
        case .nodes: "__bramble_nodes"
        case .waiting: "__bramble_waiting"
        case .commands: "(\(root.children.map(\.name).joined(separator: " ")))"
        case .words(let words): "(\(words.joined(separator: " ")))"
        }
    }

    /// Inside single quotes, where colons and brackets mean something to _arguments.
    private static func zshText(_ text: String) -> String {
        text.map { character in
            switch character {
            case "'": "'\\''"
            case ":", "[", "]", "\\": "\\\(character)"
            default: String(character)
            }
        }.joined()
    }

    // MARK: fish

    private static func fish(_ root: Command) -> String {
        var lines = ""
        func quoted(_ text: String) -> String {
            "'" + text.map { $0 == "'" || $0 == "\\" ? "\\\($0)" : String($0) }.joined() + "'"
        }
        for (path, command) in places(root) {
            let place = path.joined(separator: " ")
            for child in command.children {
                lines +=
                    "complete -c bramble -n \(quoted("__bramble_is '\(place)'")) -a \(child.name)"
                    + " -d \(quoted(child.summary))\n"
            }
            for option in options(command, at: path) {
                lines += "complete -c bramble -n \(quoted("__bramble_below '\(place)'")) -l \(option.name)"
                if let short = option.short { lines += " -s \(short)" }
                // -x: a value must follow, and files are none.
                if option.takesValue { lines += option.completion == .files ? " -r" : " -x" }
                if option.takesValue, let action = fishAction(option.completion, root) { lines += " \(action)" }
                lines += " -d \(quoted(option.help))\n"
            }
            if let first = command.arguments.first, let action = fishAction(first.completion, root) {
                lines += "complete -c bramble -n \(quoted("__bramble_is '\(place)'")) \(action)\n"
            }
        }
        return """
            # fish completion for bramble. To use it at once: bramble completion fish | source
            function __bramble_place
                set -l place
                set -l skip 0
                for word in (commandline -opc)[2..-1]
                    if test $skip = 1
                        set skip 0
                        continue
                    end
                    switch $word
                        case \(takers(root).map { "'\($0)'" }.joined(separator: " "))
                            set skip 1
                        case '-*'
                        case '*'
                            set -a place $word
                    end
                end
                string join ' ' -- $place
            end
            function __bramble_is
                set -l place (__bramble_place)
                test "$place" = "$argv[1]"
            end
            function __bramble_below
                set -l place (__bramble_place)
                test "$place" = "$argv[1]"; and return
                test -n "$argv[1]"; and string match -q -- "$argv[1] *" "$place"
            end
            complete -c bramble -f
            \(lines)
            """
    }

    private static func fishAction(_ completion: ParameterSpec.Completion, _ root: Command) -> String? {
        switch completion {
        case .nothing: nil
        case .files: "-F"
        case .directories: "-a '(__fish_complete_directories)'"
        case .nodes: "-a '(bramble nodes --names --timeout 1 2>/dev/null)'"
        case .waiting: "-a '(bramble node waiting --names --timeout 1 2>/dev/null)'"
        case .commands: "-a '\(root.children.map(\.name).joined(separator: " "))'"
        case .words(let words): "-a '\(words.joined(separator: " "))'"
        }
    }
}
