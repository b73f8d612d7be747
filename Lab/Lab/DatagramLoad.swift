import CLab
import Glibc

/// Datagrams that are sent and sent back, as fast as this machine can: the two ends of a load, each to be run by a program of
/// its own on a host of the lab.
package enum DatagramLoad {
    /// So many addresses of the client send in turn, from 10.78.0.1 on; `sources` puts them there.
    package static let sources = 1000
    private static let firstSource: UInt32 = 0x0A4E_0001

    /// What one load found.
    package struct Outcome {
        package var sent: Int
        package var back: Int
        /// When the last one was sent that never came back, seconds of CLOCK_MONOTONIC; 0 where all came.
        package var lastLost: Double

        package var line: String { "datagrams \(sent) \(back) \(lastLost)" }
        init(sent: Int, back: Int, lastLost: Double) {
            (self.sent, self.back, self.lastLost) = (sent, back, lastLost)
        }
        /// From what a program printed.
        package init?(_ output: String) {
            guard let line = output.split(separator: "\n").last(where: { $0.hasPrefix("datagrams ") }) else {
                return nil
            }
            let words = line.split(separator: " ")
            guard words.count == 4, let sent = Int(words[1]), let back = Int(words[2]), let lost = Double(words[3])
            else { return nil }
            self.init(sent: sent, back: back, lastLost: lost)
        }
    }

    /// Gives the client its addresses, and the others the way to them.
    package static func addSources(to client: Host, reachedFrom others: [Host]) throws(LabError) {
        let commands = (0..<UInt32(sources)).map { number in
            let address = firstSource + number
            return "address add 10.78.\(address >> 8 & 255).\(address & 255)/32 dev lo\n"
        }
        try client.require(["ip", "-batch", "-"], input: commands.joined())
        for host in others { try host.require("ip", "route", "add", "10.78.0.0/16", "via", client.address) }
    }

    /// Sends back what comes to the port, until it is killed.
    package static func echo(port: UInt16) -> Int32 {
        let descriptor = clab_datagram_socket(port)
        guard descriptor >= 0 else { return 1 }
        while true {
            var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            _ = poll(&waiting, 1, -1)
            while clab_send_back(descriptor) > 0 {}
        }
    }

    /// Sends at a rate, per second, whether answers come or not. Then it waits half a second for the last ones.
    package static func run(to host: String, port: UInt16, rate: Double, seconds: Double) -> Outcome? {
        var address = in_addr()
        let descriptor = clab_datagram_socket(0)
        guard inet_pton(AF_INET, host, &address) == 1, descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        let destination = UInt32(bigEndian: address.s_addr)
        var isBack = [Bool](repeating: false, count: Int(rate * seconds) + Int(CLAB_BATCH))
        /// When each tenth was sent.
        var moments: [Double] = []
        var numbers = [UInt64](repeating: 0, count: Int(CLAB_BATCH))
        func drain() {
            while true {
                let count = Int(clab_receive_numbers(descriptor, &numbers))
                for number in numbers[..<count] where number < isBack.count { isBack[Int(number)] = true }
                if count < Int(CLAB_BATCH) { return }
            }
        }
        var sent = 0
        let begin = monotonicSeconds()
        while true {
            let now = monotonicSeconds()
            guard now - begin < seconds else { break }
            let due = min(Int((now - begin) * rate), isBack.count)
            while sent < due {
                let count = Int(
                    clab_send_numbered(
                        descriptor, destination, port, firstSource, Int32(sources), UInt64(sent), Int32(due - sent)))
                if count == 0 { break }
                while moments.count * 10 < sent + count { moments.append(monotonicSeconds()) }
                sent += count
                drain()
            }
            drain()
            usleep(200)
        }
        let end = monotonicSeconds()
        while monotonicSeconds() - end < 0.5 {
            drain()
            usleep(1000)
        }
        let lost = isBack[..<sent].lastIndex(of: false)
        return Outcome(
            sent: sent, back: isBack[..<sent].count { $0 },
            lastLost: lost.map { moments[min($0 / 10, moments.count - 1)] } ?? 0)
    }
}
