import Engines
import Mirrors
import Primitives

extension FuzzTarget {
    /// What a sender says before the first byte: only letters that are known ever reach a program.
    static let mirrorRequest = FuzzTarget("mirrorRequest") {
        [("web", "/srv/www/", ".iLsfxCIvu"), ("mail", "/etc/mail.conf", "3.1iLs")].map { mirror, path, letters in
            TransferRequest(
                push: PushRequest(mirror: ServiceName(mirror)!, path: path, epoch: Epoch(7), run: 42), options: .all,
                capabilities: letters
            ).encoded
        }
    } check: { bytes in
        guard let request = try? TransferRequest(encoded: bytes) else { return nil }
        let isPlain = request.capabilities.utf8.allSatisfy {
            (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 46
        }
        if !isPlain { return "letters that are none" }
        if request.push.path.utf8.contains(where: { $0 < 32 }) { return "a path with control characters" }
        guard let again = try? TransferRequest(encoded: request.encoded) else {
            return "what was read cannot be written"
        }
        return again == request ? nil : "written and read it is another one"
    }

    /// How another node's mirrors stand.
    static let mirrorMessage = FuzzTarget("mirrorMessage") {
        var status = MirrorStatus(mirror: ServiceName("web")!)
        status.reason = "rpi2 is suspected"
        status.targets = [.init(node: NodeID(high: 1, low: 2), isRunning: true, behind: nil, failures: 3)]
        status.parked = [
            ParkedEntry(
                id: "0123456789ab", mirror: status.mirror, path: "/srv/www/page", at: 1, changed: 2, bytes: 3,
                epoch: Epoch(4),
                file: "")
        ]
        return [
            MirrorMessage.status([status]).encoded, MirrorMessage.runNow(status.mirror).encoded,
            MirrorMessage.failed(run: 1, reason: "No space left on device").encoded,
        ]
    } check: { bytes in
        guard let message = try? MirrorMessage(encoded: bytes) else { return nil }
        guard let again = try? MirrorMessage(encoded: message.encoded) else { return "what was read cannot be written" }
        return again == message ? nil : "written and read it is another one"
    }
}
