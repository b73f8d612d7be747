import Glibc
import Mirrors
import Primitives
import Reactor
import TestSupport
import Testing

@testable import Engines

@Suite("mirrors copy files with real rsync through a tunnel, one way, and lose nothing", .serialized)
struct MirrorTests {
    @Test(
        "the first copy brings all, with rights, times, links and attributes; the next sends nothing; a deletion follows"
    )
    func copies() async throws {
        let nodes = try await makeNodes(paths: ["www/", "printcap"])
        let (a, b) = (nodes[0], nodes[1])
        for number in 0..<300 { try a.write("page \(number)", "www/\(number % 7)/\(number)") }
        try a.write("lp", "printcap")
        try a.write("secret", "www/secret")
        chmod(a.path("www/secret"), 0o640)
        symlink("secret", a.path("www/link"))
        link(a.path("www/secret"), a.path("www/hard"))
        mkdir(a.path("www/lost+found"), 0o700)
        await a.engine.feed([web], epoch: Epoch(1))
        #expect(await b.wait { await b.isSynced(1) })
        #expect(b.text("www/3/3") == "page 3" && b.text("printcap") == "lp")
        #expect(mode(of: b.path("www/secret")) == 0o640)
        var target = [CChar](repeating: 0, count: 64)
        #expect(readlink(b.path("www/link"), &target, 63) == 6)
        var (one, two) = (stat(), stat())
        stat(b.path("www/secret"), &one)
        stat(b.path("www/hard"), &two)
        #expect(one.st_ino == two.st_ino, "a hard link is one file there, too")
        #expect(!b.has("www/lost+found"))
        #expect(await a.wait { await a.engine.ownStatus()[0].files == 302 })
        #expect(b.freshness.withLock { $0[web]?.isSynced ?? false })

        await a.engine.runNow(web)
        #expect(await a.wait { await a.engine.ownStatus()[0].files == 0 })

        unlink(a.path("www/3/3"))
        try a.write("page four", "www/4/4")
        await a.engine.runNow(web)
        #expect(await b.wait { !b.has("www/3/3") && b.text("www/4/4") == "page four" })
        #expect(await b.engine.parked().isEmpty, "after the first whole copy, the source's word counts")
        await stop(nodes)
    }

    @Test("a limit holds a copy back, and how much of it is done is told meanwhile")
    func limited() async throws {
        let nodes = try await makeNodes()
        let (a, b) = (nodes[0], nodes[1])
        try a.write(String(repeating: "some bytes", count: 300_000), "www/large")
        var spec = a.spec(["www/"])
        spec.limit = 1_000_000
        await a.engine.use([spec])
        let began = SystemClock.now
        await a.engine.feed([web], epoch: Epoch(1))
        let isTold = await a.wait {
            let overview = await a.engine.overview().first
            return overview?.state == .running && overview?.reason.hasSuffix(" %") == true
        }
        #expect(isTold)
        #expect(await b.wait { await b.isSynced(1) })
        // Three seconds' worth; what the kernel holds on its way is not held back.
        #expect(SystemClock.now - began > .seconds(1))
        #expect(b.text("www/large")?.utf8.count == 3_000_000)
        #expect(await a.wait { await a.engine.overview().first?.reason == "" })
        await stop(nodes)
    }

    @Test("rsync's display of its progress is read, and nothing else is taken for it")
    func percent() {
        #expect(RsyncCommand.percent("      1,234,567  45%   10.00MB/s    0:00:01") == 45)
        #expect(RsyncCommand.percent("    100 100%    0.00kB/s    0:00:00 (xfr#1, to-chk=0/2)") == 100)
        for line in ["", "45%", "Number of files: 3", "x 101%", "x -1%"] { #expect(RsyncCommand.percent(line) == nil) }
    }

    @Test("an older epoch is refused with the reason, and nothing of it is written; also after a restart")
    func olderEpoch() async throws {
        let nodes = try await makeNodes()
        let (a, b) = (nodes[0], nodes[1])
        try a.write("new", "www/page")
        await a.engine.feed([web], epoch: Epoch(5))
        #expect(await b.wait { await b.isSynced(5) })
        // A comes back from nowhere and believes in an old lease.
        _ = await a.engine.stop([web], flush: .zero)
        #expect(RecordFile(path: "\(b.data)/mirrors").read().first?.whole == Epoch(5))
        let late = try await makeNodes(1)[0]
        late.peers.withLock { $0[b.id] = b.endpoint }
        b.peers.withLock { $0[late.id] = late.endpoint }
        b.others.withLock { $0.append(late) }
        try late.write("old", "www/page")
        await meet(late, [late, b])
        await meet(b, nodes + [late])
        await late.engine.feed([web], epoch: Epoch(4))
        #expect(await late.wait { late.says("its epoch 4 is older than 5") })
        #expect(b.text("www/page") == "new")
        await stop(nodes + [late])
    }

    @Test("what a returning node had and that differs is set aside, listed, and can be put back")
    func parking() async throws {
        let nodes = try await makeNodes(paths: ["www/", "printcap"])
        let (a, b) = (nodes[0], nodes[1])
        try a.write("a's page", "www/page")
        try a.write("a's lp", "printcap")
        try a.write("same", "www/same")
        try b.write("b's own page", "www/page")
        try b.write("b's own", "www/deep/own")
        try b.write("b's own lp", "printcap")
        await a.engine.feed([web], epoch: Epoch(3))
        #expect(await b.wait { await b.isSynced(3) })
        #expect(b.text("www/page") == "a's page" && b.text("printcap") == "a's lp" && !b.has("www/deep/own"))
        #expect(await b.wait { await b.engine.parked().count == 3 })
        let parked = await b.engine.parked()
        #expect(Set(parked.map(\.entry.path)) == [b.path("www/page"), b.path("www/deep/own"), b.path("printcap")])
        #expect(parked.allSatisfy { $0.entry.epoch == Epoch(3) && $0.entry.bytes > 0 && $0.node == b.id })
        #expect(b.says("differed from those of rpi1"))
        #expect(await a.wait { await a.engine.parked().count == 3 }, "every node can list it")

        let page = try #require(parked.first { $0.entry.path == b.path("www/page") }).entry
        #expect(await a.engine.restore(page.id) == .elsewhere(b.id))
        #expect(await b.wait { await b.engine.source(of: web) == a.id })
        #expect(await b.engine.restore(page.id) == .overwritten(by: a.id, file: page.file, path: page.path))
        _ = await a.engine.stop([web], flush: .zero)
        await b.engine.feed([web], epoch: Epoch(4))
        #expect(await b.engine.restore(page.id) == .restored(b.path("www/page")))
        #expect(b.text("www/page") == "b's own page")
        let kept = await b.engine.parked().filter { $0.node == b.id }
        #expect(kept.count == 3 && kept.contains { $0.entry.path == b.path("www/page") && $0.entry.id != page.id })
        #expect(await b.engine.restore("nothing") == .unknown)
        #expect(await a.wait { a.text("www/page") == "b's own page" }, "and it goes to the others")
        await stop(nodes)
    }

    @Test("a source that dies in the middle leaves no half file in place, and the next run completes")
    func death() async throws {
        let nodes = try await makeNodes { $0.bytesPerSecond = 4 << 20 }
        let (a, b) = (nodes[0], nodes[1])
        try a.write("small", "www/a-small")
        try Shell.run("dd if=/dev/urandom of=\(a.path("www/big")) bs=1M count=24 status=none")
        await a.engine.feed([web], epoch: Epoch(1))
        #expect(await b.wait { names(in: b.path("www")).contains { $0.hasPrefix(".big.") } }, "it is under way")
        // As when its machine loses power: nobody says goodbye.
        await a.tunnels.stop()
        #expect(await b.wait { await b.engine.receivers.isEmpty })
        #expect(!b.has("www/big"))
        #expect(names(in: b.path("www")).allSatisfy { !$0.hasPrefix(".big.") })
        let hasNothingWhole = await b.engine.ownStatus()[0].whole == .none
        #expect(hasNothingWhole)
        #expect(b.freshness.withLock { $0[web] } == .never, "a service must not start on half of it")

        let again = try await makeNodes(1)[0]
        again.peers.withLock { $0[b.id] = b.endpoint }
        b.peers.withLock { $0[again.id] = again.endpoint }
        b.others.withLock { $0.append(again) }
        try Shell.run("cp -a \(a.path("www")) \(again.root)/")
        await meet(b, [b, again])
        await meet(again, [b, again])
        await again.engine.feed([web], epoch: Epoch(2))
        #expect(await b.wait { await b.isSynced(2) })
        try Shell.run("cmp \(a.path("www/big")) \(b.path("www/big"))")
        #expect(!b.has("www/.bramble-partial"))
        await stop(nodes + [again])
    }

    @Test("a path that is not there on the source is an error in words, and deletes nothing on the others")
    func missingSource() async throws {
        let nodes = try await makeNodes()
        let (a, b) = (nodes[0], nodes[1])
        try a.write("page", "www/page")
        await a.engine.feed([web], epoch: Epoch(1))
        #expect(await b.wait { await b.isSynced(1) })
        rename(a.path("www"), a.path("elsewhere"))
        await a.engine.runNow(web)
        #expect(await a.wait { a.says("is not there; nothing is copied or deleted elsewhere until it is back") })
        #expect(b.text("www/page") == "page")
        await stop(nodes)
    }

    @Test("paths that are a device, a loop, no directory, or not as they are written say so", .enabled(if: isRoot))
    func oddPaths() async throws {
        let files = TemporaryDirectory()
        let own = files.file("data")
        try files.write("x", to: "file")
        try files.write("x", to: "folder/x")
        symlink("loop", files.file("loop"))
        func problem(_ path: String) -> String { Places.problemAsSource(path, own: own) ?? "" }
        #expect(problem("/dev/null").contains("no file and no directory"))
        #expect(problem(files.file("loop")).contains("Too many levels of symbolic links"))
        #expect(
            problem(files.file("file/")).contains("no directory")
                || problem(files.file("file/")).contains("Not a directory"))
        #expect(problem(files.file("folder")).contains("end it in /"))
        #expect(problem(files.file("folder/")) == "")
        #expect(problem(files.file("data/")).contains("keys"))
        #expect(problem("\(files.path)/").contains("keys"), "the data directory is in it")
        #expect(problem("/").contains("no path that can be mirrored"))
        #expect(problem("\(files.path)/a/../b").contains("no path that can be mirrored"))
        #expect(Places.prepareDestination(files.file("file/"), own: own)?.contains("directory") ?? false)
        #expect(Places.prepareDestination(files.file("folder"), own: own)?.contains("no file") ?? false)
        #expect(Places.prepareDestination(files.file("file/below/"), own: own) != nil)
        #expect(Places.prepareDestination(files.file("new/deep/"), own: own) == nil)
        mkdir(own, 0o700)
        symlink("data", files.file("way"))
        #expect(
            Places.problemAsSource(files.file("way/x/"), own: own)?.contains("keys") ?? false, "also through a link")
    }

    @Test("a file that rsync may not read is named, the others are copied, and nothing is lost", .enabled(if: isRoot))
    func unreadable() async throws {
        let files = TemporaryDirectory()
        // As in a confined unit: root, and not above everybody's permissions.
        try files.writeProgram(
            "#!/bin/sh\nexec setpriv --bounding-set=-dac_override,-dac_read_search /usr/bin/rsync \"$@\"\n", to: "rsync"
        )
        let confined = files.file("rsync")
        let nodes = try await makeNodes { $0.rsync = confined }
        let (a, b) = (nodes[0], nodes[1])
        try a.write("page", "www/page")
        try a.write("secret", "www/secret")
        try b.write("what was there", "www/secret")
        chmod(a.path("www/secret"), 0)
        await a.engine.feed([web], epoch: Epoch(1))
        #expect(
            await a.wait { a.says("www/secret") && a.says("Permission denied") },
            "\(a.news.withLock { $0 })")
        #expect(b.text("www/secret") == "what was there")
        #expect(await b.engine.ownStatus()[0].whole == .none, "it is not taken for whole")
        chmod(a.path("www/secret"), 0o600)
        #expect(await b.wait { await b.isSynced(1) })
        #expect(b.text("www/secret") == "secret" && b.text("www/page") == "page")
        await stop(nodes)
    }

    @Test("a full disk on the other side is told in words, and what was there stays", .enabled(if: isRoot))
    func fullDisk() async throws {
        let nodes = try await makeNodes()
        let (a, b) = (nodes[0], nodes[1])
        mkdir(b.path("www"), 0o755)
        try Shell.run("mount -t tmpfs -o size=24m none \(b.path("www"))")
        defer { _ = try? Shell.run("umount \(b.path("www"))") }
        try b.write("my own", "www/page")
        try a.write("page", "www/page")
        try Shell.run("dd if=/dev/zero of=\(a.path("www/big")) bs=1M count=40 status=none")
        await a.engine.feed([web], epoch: Epoch(1))
        #expect(await a.wait { a.says("No space left on device") })
        #expect(!b.has("www/big"))
        #expect(await b.engine.ownStatus()[0].whole == .none)
        // Room is made: it goes on by itself.
        unlink(a.path("www/big"))
        #expect(await b.wait { await b.isSynced(1) })
        #expect(b.text("www/page") == "page")
        try Shell.run("dd if=/dev/zero of=\(b.path("www/filler")) bs=1M count=15 status=none")
        #expect(Places.prepareDestination(b.path("www/"), own: b.data)?.contains("is full here") ?? false)
        await stop(nodes)
    }

    @Test("without rsync on either side the message names the package")
    func missingProgram() async throws {
        let nodes = try await makeNodes { $0.rsync = "/nowhere/rsync" }
        try nodes[0].write("page", "www/page")
        await nodes[0].engine.feed([web], epoch: Epoch(1))
        #expect(await nodes[0].wait { nodes[0].says("apt install rsync") })
        let request = TransferRequest(
            push: PushRequest(mirror: web, path: nodes[1].path("www/"), epoch: Epoch(1), run: 1), options: .all,
            capabilities: ".iLsfxCIvu")
        let answer = await nodes[1].engine.requested(by: nodes[0].id, request.encoded)
        #expect(answer == .refuse("rsync is not installed here: apt install rsync"))
        await stop(nodes)
    }

    @Test("requests that lie are refused before anything is written or run")
    func malice() async throws {
        let nodes = try await makeNodes()
        let (a, b) = (nodes[0], nodes[1])
        func ask(
            _ mirror: String = "web", _ path: String? = nil, _ capabilities: String = ".iLsfxCIvu", epoch: UInt64 = 1,
            by sender: NodeID? = nil
        ) async -> String {
            let push = PushRequest(
                mirror: ServiceName(mirror)!, path: path ?? b.path("www/"), epoch: Epoch(epoch), run: 1)
            let request = TransferRequest(push: push, options: .all, capabilities: capabilities)
            switch await b.engine.requested(by: sender ?? a.id, request.encoded) {
            case .accept(let socket):
                close(socket)
                return "accepted"
            case .refuse(let reason): return reason
            }
        }
        #expect(await ask("mail").contains("there is no mirror “mail” here yet"))
        for path in ["/etc/", b.path("www/../../etc/"), b.path("www"), b.path("www/x"), "", "/"] {
            #expect(await ask("web", path).contains("does not belong to the mirror"))
        }
        for letters in [
            ".iLs --delete-excluded", ".$(id)", ".;id", ".\n", "iLs", ".a/b", String(repeating: ".a", count: 40),
        ] {
            #expect(await ask("web", nil, letters) == "the request cannot be read")
        }
        #expect(await ask(epoch: 0).contains("older"))
        #expect(await ask(by: NodeID(high: 1, low: 2)).contains("no member"))
        #expect(await b.engine.requested(by: a.id, []) == .refuse("the request cannot be read"))
        #expect(!b.has("www"), "nothing was made")
        await b.engine.feed([web], epoch: Epoch(2))
        #expect(await ask(epoch: 3).contains("serves these files itself"))
        await stop(nodes)
    }

    @Test("a sender of other names than the one that is mirrored writes nothing beside it")
    func otherNames() async throws {
        let nodes = try await makeNodes(paths: ["printcap"])
        let (a, b) = (nodes[0], nodes[1])
        try a.write("evil", "shadow")
        try a.write("more", "passwd")
        let push = PushRequest(mirror: web, path: b.path("printcap"), epoch: Epoch(1), run: 1)
        let request = TransferRequest(push: push, options: [], capabilities: ".iLsfxCIvu")
        let answer = await b.engine.requested(by: a.id, request.encoded)
        guard case .accept(let socket) = answer else {
            Issue.record("\(answer)")
            return
        }
        // Rsync as a bad member would run it: two files, of other names, to whoever asked for one.
        _ = fcntl(socket, F_SETFL, 0)
        _ = fcntl(socket, F_SETFD, 0)
        let arguments = "-lHogtpr --timeout=60 --delete-delay --stats --partial-dir .bramble-partial --numeric-ids"
        try a.files.writeProgram("#!/bin/bash\ncat <&0 >&$1 &\ncat <&$1\nkill $!\n", to: "shell")
        try Shell.run(
            "rsync \(arguments) -e '\(a.files.file("shell")) \(socket)' \(a.path("shadow")) \(a.path("passwd")) x:y || true"
        )
        close(socket)
        #expect(await b.wait { await b.engine.receivers.isEmpty })
        #expect(!b.has("shadow") && !b.has("passwd"))
        #expect(names(in: b.root).allSatisfy { $0 == "printcap" })
        #expect(b.freshness.withLock { $0[web] } != .synced(behind: .zero))
        await stop(nodes)
    }

    @Test("a change in a watched directory arrives by itself, in a new directory below it as well")
    func onChange() async throws {
        let nodes = try await makeNodes(every: nil)
        let (a, b) = (nodes[0], nodes[1])
        try a.write("one", "www/page")
        await a.engine.feed([web], epoch: Epoch(1))
        #expect(await b.wait { await b.isSynced(1) })
        try a.write("two", "www/page")
        #expect(await b.wait { b.text("www/page") == "two" })
        try a.write("deep", "www/new/er/page")
        #expect(await b.wait { b.text("www/new/er/page") == "deep" })
        try a.write("deeper", "www/new/er/page")
        #expect(await b.wait { b.text("www/new/er/page") == "deeper" })
        await stop(nodes)
    }

    @Test("a hand-over sends what the others lack before it is done, and then the old source takes the new one's files")
    func handOver() async throws {
        let nodes = try await makeNodes()
        let (a, b) = (nodes[0], nodes[1])
        try a.write("one", "www/page")
        await a.engine.feed([web], epoch: Epoch(1))
        #expect(await b.wait { await b.isSynced(1) })
        try a.write("the last word", "www/page")
        let behind = await a.engine.stop([web], flush: .seconds(120))
        let said = (a.news.withLock { $0 }, b.news.withLock { $0 })
        #expect(behind == [], "\(said)")
        #expect(b.text("www/page") == "the last word")
        await b.engine.feed([web], epoch: Epoch(2))
        try b.write("new word", "www/page")
        await b.engine.runNow(web)
        #expect(await a.wait { a.text("www/page") == "new word" })
        #expect(await a.wait { await a.isSynced(2) })
        let overview = await a.engine.overview()
        #expect(overview.first?.mirror == web)
        #expect(await a.wait { await a.engine.overview().first?.source == b.id })
        await stop(nodes)
    }

    @Test("nothing is pushed while somebody is suspected, and that is said")
    func pause() async throws {
        let nodes = try await makeNodes()
        let (a, b) = (nodes[0], nodes[1])
        try a.write("one", "www/page")
        let suspicious = nodes.map { MirrorPeer(id: $0.id, name: $0.name, state: $0 === b ? .suspect : .alive) }
        await a.engine.use(suspicious, isIsolated: false)
        await a.engine.feed([web], epoch: Epoch(1))
        #expect(await a.engine.overview().first?.state == .paused)
        #expect(await a.engine.overview().first?.reason.contains("rpi2 is suspected") ?? false)
        #expect(await a.engine.pushes.isEmpty)
        await meet(a, nodes)
        #expect(await b.wait { await b.isSynced(1) })
        await stop(nodes)
    }

    @Test("a node that begins to serve ends what others still write there first")
    func takeover() async throws {
        let nodes = try await makeNodes { $0.bytesPerSecond = 1 << 20 }
        let (a, b) = (nodes[0], nodes[1])
        try a.write("x", "www/page")
        try Shell.run("dd if=/dev/urandom of=\(a.path("www/big")) bs=1M count=30 status=none")
        await a.engine.feed([web], epoch: Epoch(1))
        #expect(await b.wait { await !b.engine.receivers.isEmpty })
        await b.engine.feed([web], epoch: Epoch(2))
        #expect(await b.engine.receivers.isEmpty)
        await stop(nodes)
    }
}

extension MirrorFreshness {
    fileprivate var isSynced: Bool { if case .synced = self { true } else { false } }
}
