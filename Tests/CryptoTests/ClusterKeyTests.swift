import Crypto
import Primitives
import Testing

private let home = NodeName("home")!

@Suite("a cluster key is one line that is carried about without harm")
struct ClusterKeyTests {
    @Test("a key survives being written and read")
    func roundTrip() throws {
        let key = ClusterKey.generate(name: home)
        let read = try ClusterKey(text: key.text)
        #expect(read == key)
        #expect(read.tag == key.tag)
        #expect(read.derived(for: "x") == key.derived(for: "x"))
        #expect(!key.text.contains("\n"))
    }

    @Test(
        "comments, empty lines, carriage returns and a byte order mark do no harm: the file was edited on some laptop")
    func edited() throws {
        let key = ClusterKey.generate(name: home)
        #expect(try ClusterKey(text: "\u{FEFF}# our cluster\r\n\r\n  \(key.text)  \r\n") == key)
        #expect(try ClusterKey(text: key.text.uppercasedSecret) == key)
    }

    @Test("a digit that changed anywhere is noticed")
    func damaged() {
        let text = ClusterKey(name: home, version: 3, secret: Secret(Array(0..<32))).text
        for index in text.indices where index > text.firstIndex(of: " ")! {
            var broken = text
            broken.replaceSubrange(index...index, with: text[index] == "1" ? "2" : "1")
            #expect(throws: ClusterKeyError.self) { try ClusterKey(text: broken) }
            #expect(throws: ClusterKeyError.self) { try ClusterKey(text: String(text[..<index])) }
        }
    }

    @Test("each kind of wrong file has its own problem and remedy")
    func errors() {
        let key = ClusterKey.generate(name: home).text
        #expect(throws: ClusterKeyError.empty) { try ClusterKey(text: "") }
        #expect(throws: ClusterKeyError.empty) { try ClusterKey(text: " \n# nothing\n") }
        #expect(throws: ClusterKeyError.notAKey) { try ClusterKey(text: "ssh-ed25519 AAAA me@home") }
        #expect(throws: ClusterKeyError.notAKey) { try ClusterKey(text: String(repeating: "a", count: 100_000)) }
        #expect(throws: ClusterKeyError.unknownFormat("bramble-key-2")) { try ClusterKey(text: "bramble-key-2 x") }
        #expect(throws: ClusterKeyError.severalKeys) { try ClusterKey(text: key + "\n" + key) }
        #expect(throws: ClusterKeyError.damaged) { try ClusterKey(text: "bramble-key-1 home 1") }
        for error in [ClusterKeyError.empty, .notAKey, .unknownFormat("x"), .damaged, .severalKeys] {
            #expect(!error.problem.isEmpty && !error.remedy.isEmpty)
        }
    }

    @Test("nothing that prints a key prints its secret")
    func doesNotPrint() {
        let key = ClusterKey.generate(name: home)
        let secret = key.text.split(separator: " ")[3]
        var dumped = ""
        dump(ClusterKeyRing(current: key), to: &dumped)
        #expect("\(key)" == "cluster key 1 of “home”")
        for text in ["\(key)", String(reflecting: key), "\(ClusterKeyRing(current: key))", dumped] {
            #expect(!text.contains(secret))
        }
    }

    @Test("the tag differs for another secret, another version and another name")
    func tags() {
        let secret = Secret(Array(0..<32))
        let keys = [
            ClusterKey(name: home, version: 1, secret: secret), ClusterKey(name: home, version: 2, secret: secret),
            ClusterKey(name: NodeName("away")!, version: 1, secret: secret), ClusterKey.generate(name: home),
        ]
        #expect(Set(keys.map(\.tag)).count == keys.count)
        #expect(ClusterTag(keys[0].tag.description) == keys[0].tag)
        #expect(ClusterTag("short") == nil)
        // A fixed value: members that run different versions of Bramble must find each other.
        #expect(keys[0].tag.description == "064c803dcd8796f5", "\(keys[0].tag)")
    }

    @Test("a ring keeps the newest key as the current one, whatever the order they come in, and a bounded rest")
    func ring() throws {
        var keys = [ClusterKey.generate(name: home)]
        for _ in 0..<10 { keys.append(keys.last!.rotated()) }
        var forward = ClusterKeyRing(current: keys[0])
        for key in keys { forward.add(key) }
        var backward = ClusterKeyRing(current: keys[10])
        for key in keys.reversed() + keys { backward.add(key) }
        #expect(forward.current == keys[10])
        #expect(forward == backward)
        #expect(forward.older.map(\.version) == (3...10).reversed().map { UInt32($0) })
        #expect(forward.key(with: keys[5].tag) == keys[5])
        #expect(forward.key(with: keys[0].tag) == nil)
        #expect(try ClusterKeyRing(text: forward.text) == forward)
        #expect(try ClusterKeyRing(text: keys[0].text) == ClusterKeyRing(current: keys[0]))
        let stranger = ClusterKey.generate(name: NodeName("away")!)
        #expect(throws: ClusterKeyError.severalKeys) { try ClusterKeyRing(text: keys[0].text + "\n" + stranger.text) }
    }

    @Test("two rotations at the same time end in the same key on every node")
    func concurrentRotation() {
        let first = ClusterKey.generate(name: home)
        let (a, b) = (first.rotated(), first.rotated())
        var one = ClusterKeyRing(current: first)
        one.add(a)
        one.add(b)
        var other = ClusterKeyRing(current: first)
        other.add(b)
        other.add(a)
        #expect(one == other)
        #expect(one.older.count == 2)
    }
}

extension String {
    /// The secret and its check in capitals; the check is over the text as it stands, so only it may change.
    fileprivate var uppercasedSecret: String {
        let words = split(separator: " ")
        return (words.dropLast() + [Substring(words.last!.uppercased())]).joined(separator: " ")
    }
}
