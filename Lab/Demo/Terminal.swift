import Glibc

/// What the person in front of the demonstration sees and presses.
struct Terminal {
    /// Someone is there to read and to press keys.
    let isInteractive = isatty(0) == 1 && isatty(1) == 1
    private let hasColour = isatty(1) == 1 && getenv("NO_COLOR") == nil
    private var saved = termios()

    func strong(_ text: String) -> String { paint(text, "1") }
    func good(_ text: String) -> String { paint(text, "32") }
    func bad(_ text: String) -> String { paint(text, "31") }
    func dim(_ text: String) -> String { paint(text, "2") }
    private func paint(_ text: String, _ code: String) -> String {
        hasColour ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
    }

    func say(_ line: String = "") {
        print(line)
        fflush(nil)
    }
    func step(_ text: String, took milliseconds: Double? = nil) {
        let figure = milliseconds.map { "\(Int($0.rounded())) ms" } ?? ""
        let gap = String(repeating: " ", count: max(2, 72 - text.count - figure.count))
        say("  \(good("✓")) \(text)\(figure.isEmpty ? "" : gap + strong(figure))")
    }
    func fail(_ text: String) { say("  \(bad("✗")) \(text)") }

    /// Keys come one by one and are not shown; Ctrl-C is a key too, so that the terminal is given back.
    mutating func takeKeys() {
        tcgetattr(0, &saved)
        var raw = saved
        raw.c_lflag &= ~tcflag_t(ICANON | ECHO | ISIG)
        tcsetattr(0, TCSANOW, &raw)
    }
    func giveBack() {
        var old = saved
        tcsetattr(0, TCSANOW, &old)
    }

    /// The key pressed within the limit. The end of the input counts as q.
    func key(within milliseconds: Int32) -> Character? {
        var poll = pollfd(fd: 0, events: Int16(POLLIN), revents: 0)
        guard Glibc.poll(&poll, 1, milliseconds) > 0 else { return nil }
        var byte: UInt8 = 0
        return read(0, &byte, 1) == 1 ? Character(Unicode.Scalar(byte)) : "q"
    }
}
