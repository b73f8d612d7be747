import CLinux
import Glibc
import Logging
import Mirrors
import Primitives
import Processes
import Reactor

extension MirrorEngine {
    /// One run: all paths of a mirror to one node, one after the other.
    /// On the engine's loop only.
    final class Push: @unchecked Sendable {
        let number: PushNumber
        let mirror: ServiceName
        let node: NodeID
        let epoch: Epoch
        var isCancelled = false
        var process: Spawner.Run?
        /// The number of the run, as the other side knows it; and what that said about its end.
        var run: UInt64 = 0
        var reason: String?
        /// For people: what is being copied, and how much of what is known of it is there.
        let progress = Locked<(path: String, percent: Int)?>(nil)
        init(number: PushNumber, mirror: ServiceName, node: NodeID, epoch: Epoch) {
            self.number = number
            self.mirror = mirror
            self.node = node
            self.epoch = epoch
        }
    }

    func cancel(_ push: Push) {
        push.isCancelled = true
        if let process = push.process { spawner.abort(process) }
    }

    func run(_ push: Push) async {
        var files = 0
        var bytes: UInt64 = 0
        var failure: String?
        // Of no use as a number of its own: two runs of one source must differ, also after a restart of it.
        let run = UInt64(truncatingIfNeeded: SystemClock.wallNanoseconds)
        push.run = run
        if let spec = specs[push.mirror] {
            for path in spec.paths where failure == nil && !push.isCancelled {
                let request = PushRequest(mirror: push.mirror, path: path, epoch: push.epoch, run: run)
                switch await send(request, spec, push) {
                case .done(let more, let moreBytes):
                    files += more
                    bytes += moreBytes
                case .failed(let reason): failure = reason
                }
            }
        }
        pushes[push.number] = nil
        guard !push.isCancelled else { return }
        handle(.pushed(push.number, failure.map { .failed($0) } ?? .done(files: files, bytes: bytes)))
    }

    private func send(_ request: PushRequest, _ spec: MirrorSpec, _ push: Push) async -> PushResult {
        let directory = options.directory
        // A dead disk must not stop the other mirrors.
        if let problem = await onDisk({ Places.problemAsSource(request.path, own: directory) }) {
            return .failed(problem)
        }
        var transfer = TransferRequest.Options.all.subtracting(lacking[push.node] ?? [])
        while true {
            let (end, refusal) = await transferOnce(request, spec, push, transfer)
            if push.isCancelled { return .failed("it was ended") }
            if let code = end.code, RsyncCommand.good.contains(code), refusal == nil {
                let figures = RsyncCommand.figures(end.output)
                return .done(files: figures.files, bytes: figures.bytes)
            }
            let less = transfer.subtracting(Self.unsupported(end.errors))
            guard less != transfer else {
                if let refusal { return .failed(refusal) }
                // Single files that could not be read here or written there: rsync has both on this side.
                if end.code == RsyncCommand.someFailed, !end.errors.isEmpty { return .failed(RsyncCommand.reason(end)) }
                // The other side knows more, and says it right away.
                for _ in 0..<50 where push.reason == nil && end.code != nil {
                    try? await loop.sleep(for: .milliseconds(20))
                }
                return .failed(push.reason ?? RsyncCommand.reason(end))
            }
            outlets.tell(
                News(
                    type: "mirror", mirror: push.mirror,
                    sentence: "\(name(push.node)) keeps no "
                        + (less.contains(.attributes) ? "access control lists" : "extended attributes")
                        + " under \(request.path): \(push.mirror) is copied without"))
            lacking[push.node, default: []].formUnion(transfer.subtracting(less))
            transfer = less
        }
    }

    /// What a file system at one of the ends does not have.
    private static func unsupported(_ errors: [String]) -> TransferRequest.Options {
        let lines = errors.filter {
            $0.contains("Operation not supported") || $0.contains("are not supported") || $0.contains("not compiled in")
        }.map { $0.lowercased() }
        // What uses the attributes is a list, too, as some file systems see it.
        if lines.contains(where: { $0.contains("acl") }) { return .acls }
        if lines.contains(where: { $0.contains("xattr") }) { return .attributes }
        return []
    }

    private func transferOnce(
        _ request: PushRequest, _ spec: MirrorSpec, _ push: Push, _ transfer: TransferRequest.Options
    ) async -> (end: ActionEnd, refusal: String?) {
        var pair: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &pair) == 0 else {
            return (ActionEnd(cause: .aborted), String(cString: strerror(errno)))
        }
        let (control, handed) = (pair[0], pair[1])
        _ = fcntl(control, F_SETFL, O_NONBLOCK)
        let command = RsyncCommand.push(
            rsync: options.rsync, path: request.path, options: transfer, exclude: spec.exclude,
            bytesPerSecond: spec.limit ?? options.bytesPerSecond, channel: options.channel, to: name(push.node),
            mirror: push.mirror)
        let errand = Errand(control: control)
        errand.watch = loop.watch(control, for: .readable) { [weak self] _ in
            self?.assumeIsolated { $0.take(errand, request, push, transfer) }
        }
        let end = await withCheckedContinuation { continuation in
            let process = spawner.launch(
                command, in: nil, .action(0), deadline: options.longestRun, extraDescriptors: [handed],
                line: { line in
                    guard let percent = RsyncCommand.percent(line) else { return }
                    push.progress.withLock { $0 = (request.path, percent) }
                }
            ) { continuation.resume(returning: $0) }
            push.process = process
            close(handed)
        }
        push.process = nil
        // The tunnel ends with rsync; its words explain more than those of rsync about it.
        if let tunnel = errand.tunnel { await tunnel.value }
        errand.watch.map(loop.cancel)
        close(control)
        return (end, errand.refusal)
    }

    /// What `mirror-channel` brings of one rsync.
    private final class Errand: @unchecked Sendable {
        let control: Int32
        var watch: EventLoop.Registration?
        var tunnel: Task<Void, Never>?
        var refusal: String?
        init(control: Int32) { self.control = control }
    }

    private func take(_ errand: Errand, _ request: PushRequest, _ push: Push, _ transfer: TransferRequest.Options) {
        var buffer = [UInt8](repeating: 0, count: MirrorChannel.longest)
        var (first, second): (Int32, Int32) = (-1, -1)
        let count = buffer.withUnsafeMutableBytes {
            clinux_receive_pair(errand.control, $0.baseAddress, $0.count, &first, &second)
        }
        if count < 0, errno == EAGAIN || errno == EINTR { return }
        errand.watch.map(loop.cancel)
        errand.watch = nil
        guard count > 0, first >= 0 else { return }
        func refuse(_ reason: String) {
            errand.refusal = reason
            close(first)
            close(second)
            shutdown(errand.control, Int32(SHUT_RDWR))
        }
        let words = buffer[..<count].split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
        guard let capabilities = TransferRequest.capabilities(in: words) else {
            return refuse("this rsync speaks in a way that is not known: \(words.joined(separator: " "))")
        }
        guard !push.isCancelled else { return refuse("it was ended") }
        for one in [first, second] { _ = fcntl(one, F_SETFL, fcntl(one, F_GETFL, 0) | O_NONBLOCK) }
        let wanted = TransferRequest(push: request, options: transfer, capabilities: capabilities)
        let (input, output) = (first, second)
        errand.tunnel = Task {
            let end = await self.outlets.tunnel(push.node, wanted.encoded, input, output)
            if case .failed(let reason) = end { errand.refusal = reason }
            var code: UInt8 = end == .carried ? 0 : 1
            _ = Glibc.send(errand.control, &code, 1, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
        }
    }
}
