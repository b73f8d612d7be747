package import FoundationEssentials
import Glibc

/// Where a command writes and reads, and what the other end can show.
package struct Terminal: Sendable {
    /// Columns and rows at this moment; nil when output goes to a file or a pipe, which has none.
    package var size: @Sendable () -> (columns: Int, rows: Int)? = { nil }
    package var hasColour = false
    /// Whether bars and check marks can be shown.
    package var hasUnicode = true
    /// A person can be asked: both what is read and where the question is written are terminals.
    package var canAsk = false
    package var write: @Sendable (String) -> Void
    package var complain: @Sendable (String) -> Void
    /// One line of standard input without its end; nil at the end of input.
    package var readLine: @Sendable () -> String?
    /// The same without showing what is typed, after this prompt.
    package var readSecret: @Sendable (_ prompt: String) -> String?
    package var now: @Sendable () -> Date = { Date() }
    /// Day and time of day as the clock on the wall shows them: `2026-11-21`, `12:00:00.000`.
    package var wallClock: @Sendable (Date) -> (day: String, time: String) = Terminal.localTime

    package init(
        write: @escaping @Sendable (String) -> Void, complain: @escaping @Sendable (String) -> Void,
        readLine: @escaping @Sendable () -> String?, readSecret: @escaping @Sendable (_ prompt: String) -> String?
    ) {
        self.write = write
        self.complain = complain
        self.readLine = readLine
        self.readSecret = readSecret
    }

    /// The terminal, or the files, of this process.
    package static func ofProcess(environment: [String: String]) -> Terminal {
        let isScreen = isatty(STDOUT_FILENO) == 1
        let mayColour = (environment["NO_COLOR"] ?? "").isEmpty && (environment["TERM"] ?? "dumb") != "dumb"
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].lazy.compactMap { environment[$0] }.first { !$0.isEmpty } ?? ""
        // A file is read who knows where; on a screen the locale tells.
        let isPlain = !locale.uppercased().contains("UTF")
        let plainErrors = isPlain && isatty(STDERR_FILENO) == 1
        var terminal = Terminal(
            write: { writeAll(isPlain && isScreen ? Text.plain($0) : $0, to: STDOUT_FILENO) },
            complain: { writeAll(plainErrors ? Text.plain($0) : $0, to: STDERR_FILENO) },
            readLine: { Swift.readLine() }, readSecret: { readWithoutEcho(prompt: $0) })
        terminal.size = { isScreen ? screenSize() : nil }
        terminal.hasColour = isScreen && mayColour
        terminal.hasUnicode = !(isPlain && isScreen)
        terminal.canAsk = isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1
        return terminal
    }

    private static func screenSize() -> (columns: Int, rows: Int)? {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    private static func localTime(_ moment: Date) -> (day: String, time: String) {
        let seconds = moment.timeIntervalSince1970
        var whole = time_t(seconds.rounded(.down))
        var parts = tm()
        localtime_r(&whole, &parts)
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let fraction = Text.number(seconds - seconds.rounded(.down), decimals: 3).dropFirst()
        return (
            "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))",
            "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))\(fraction.hasPrefix(".") ? fraction : ".999")"
        )
    }

    /// Whole, or the process ends: a reader that went away (EPIPE) needs no message, a full disk does.
    private static func writeAll(_ text: String, to descriptor: Int32) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 {
                rest = rest.dropFirst(count)
            } else if errno == EAGAIN {
                // Somebody else made the shared descriptor non-blocking.
                var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&wait, 1, -1)
            } else if errno != EINTR {
                if errno != EPIPE, descriptor == STDOUT_FILENO {
                    writeAll(
                        "bramble: cannot write: \(String(cString: strerror(errno)))\nremedy: check the disk and the file\n",
                        to: STDERR_FILENO)
                }
                exit(1)
            }
        }
    }

    private static func readWithoutEcho(prompt: String) -> String? {
        var before = termios()
        guard tcgetattr(STDIN_FILENO, &before) == 0 else { return nil }
        var quiet = before
        quiet.c_lflag &= ~tcflag_t(ECHO)
        quiet.c_lflag |= tcflag_t(ECHONL)
        // Ctrl-C must end the question without leaving a terminal that shows nothing: it ends the line instead of the
        // process, and the process ends after the terminal is as before.
        let interrupt: UInt8 = 3
        quiet.c_lflag &= ~tcflag_t(ISIG)
        withUnsafeMutableBytes(of: &quiet.c_cc) { $0[Int(VEOL)] = interrupt }
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet)
        // Only now: who types at once after the prompt must not be seen either.
        writeAll(prompt, to: STDERR_FILENO)
        var line = [UInt8](repeating: 0, count: 4096)
        let count = read(STDIN_FILENO, &line, line.count)
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before)
        guard count > 0 else { return nil }
        let typed = line[..<count]
        if typed.contains(interrupt) {
            // To the process: the threads of Swift's executors block signals. It ends us within this second.
            kill(getpid(), SIGINT)
            sleep(1)
            return nil
        }
        return String(decoding: typed.prefix { $0 != 0x0A }, as: UTF8.self)
    }
}

/// Colours of a terminal's own palette, so that they fit its background.
enum Colour: String, Sendable {
    case green = "32"
    case yellow = "33"
    case red = "31"
    case faint = "2"
    case strong = "1"
}

extension Terminal {
    var width: Int? { size()?.columns }
    /// What stands where nothing is known.
    var dash: String { hasUnicode ? "–" : "-" }

    /// Text in lines that fit; one line where nothing limits it.
    func wrapped(_ text: String) -> String { Text.wrapped(text, to: max(40, width ?? .max)) }

    func paint(_ text: String, _ colour: Colour?) -> String {
        guard hasColour, let colour, !text.isEmpty else { return text }
        return "\u{1B}[\(colour.rawValue)m\(text)\u{1B}[0m"
    }
}
