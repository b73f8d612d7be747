import Glibc
import Lab
import Primitives
import Reactor
import Testing

/// Hosts of a lab on one Ethernet, with processes that hold addresses and a client that asks for them.
@LabThread
final class World {
    let lab: Lab
    static let journal = "/run/takeover"
    /// What SwiftPM has built lies next to the running program.
    static let program: String = {
        let folder = BrambleNode.builtHere.split(separator: "/").dropLast().map { "/\($0)" }.joined()
        return "\(folder)/takeover-host"
    }()
    let floating = "10.77.0.250"

    init(_ names: String...) throws { lab = try Lab(names) }
    subscript(_ name: String) -> Host { lab[name] }

    /// Starts a holder and waits until it holds. `lease` and `pace` in milliseconds; the lease is long enough for a busy
    /// test machine.
    func hold(_ host: String, _ addresses: String..., lease: Int = 2000, pace: Int = 50) throws -> Holder {
        let process = try lab[host].spawn([Self.program, "hold", Self.journal, "\(lease)", "\(pace)"] + addresses)
        let holder = Holder(process: process)
        guard eventually(within: .seconds(30), { holder.lines("until").count >= 2 || !process.isRunning }),
            process.isRunning
        else { throw LabError("\(host) does not hold \(addresses): \(process.output)") }
        return holder
    }
    func client(_ host: String, _ address: String) throws -> Client {
        let process = try lab[host].spawn([Self.program, "sample", "eth0", address])
        guard eventually(within: .seconds(30), { process.output.contains("asked") }) else {
            throw LabError("no client: \(process.output)")
        }
        return Client(process: process)
    }
    func probe(_ host: String, _ address: String) throws -> String {
        try lab[host].require([Self.program, "probe", "\(Self.journal)-probe", address])
            .split(separator: "\n").last { !$0.contains(" info ") }.map(String.init) ?? ""
    }
    /// The hardware address under which a host knows another address; empty for none.
    func neighbour(_ host: String, _ address: String) throws -> String {
        let line = try lab[host].require("ip", "neigh", "show", address)
        let words = line.split(whereSeparator: \.isWhitespace)
        return words.firstIndex(of: "lladdr").map { String(words[$0 + 1]) } ?? ""
    }
    func has(_ host: String, _ address: String) throws -> Bool {
        try lab[host].require("ip", "-o", "addr").contains(" \(address)/")
    }
}

@LabThread
final class Holder {
    let process: LabProcess
    init(process: LabProcess) { self.process = process }

    /// What follows a word at the begin of a line. Only whole lines: the last may be half written.
    func lines(_ word: String) -> [String] {
        process.output.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
            .filter { $0.hasPrefix("\(word) ") }.map { String($0.dropFirst(word.count + 1)) }
    }
    /// The end of the last right it asked the kernel for.
    var until: Int64 { lines("until").last.flatMap { Int64($0) } ?? 0 }
    /// For one that is frozen or dead: waits until its right is over.
    func outlive() {
        pause(.milliseconds(20))
        while SystemClock.now.nanoseconds < until + 50_000_000 { pause(.milliseconds(10)) }
    }
}

@LabThread
final class Client {
    struct Answer: Equatable {
        var number: Int
        var askedAt: Int64
        var owner: String
    }
    let process: LabProcess
    init(process: LabProcess) { self.process = process }

    /// "echo" or "arp".
    func answers(_ kind: String) -> [Answer] { rows(kind) }
    var asked: [Answer] { rows("asked") }

    private func rows(_ word: String) -> [Answer] {
        process.output.split(separator: "\n", omittingEmptySubsequences: false).dropLast().compactMap { line in
            let words = line.split(separator: " ")
            guard words.count >= 3, words[0] == word, let number = Int(words[1]), let time = Int64(words[2]) else {
                return nil
            }
            return Answer(number: number, askedAt: time, owner: words.count > 3 ? String(words[3]) : "")
        }
    }
    /// Waits until it has asked so many times more.
    func wait(questions: Int) -> Bool {
        let before = asked.count
        return eventually(within: .seconds(60)) { asked.count >= before + questions }
    }
    /// Waits until it has asked for half a second after a moment, and has had time to hear.
    func ask(beyond moment: Int64) -> Bool {
        eventually(within: .seconds(60)) { (asked.last?.askedAt ?? 0) > moment + 500_000_000 }
    }
    /// Waits until a ping that is asked from now on is answered.
    func waitForAnswer() -> Bool {
        let before = asked.last?.number ?? 0
        return eventually(within: .seconds(30)) { answers("echo").contains { $0.number > before } }
    }
}
