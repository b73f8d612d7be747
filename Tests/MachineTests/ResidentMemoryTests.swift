import Glibc
import Machine
import Testing

@Suite("code that only the start needed is given back")
struct ResidentMemoryTests {
    @Test("less is resident afterwards, and everything still works")
    func trims() async {
        await #expect(processExitsWith: .success) {
            func resident() -> Int {
                var text = [UInt8](repeating: 0, count: 256)
                let file = open("/proc/self/statm", O_RDONLY)
                defer { close(file) }
                let count = read(file, &text, text.count)
                let words = String(decoding: text.prefix(max(count, 0)), as: UTF8.self).split(separator: " ")
                return words.count > 1 ? Int(words[1]) ?? -1 : -1
            }
            let kept = (0..<10_000).map { String($0) }
            let before = resident()
            ResidentMemory.giveBackCodeOfTheStart()
            let after = resident()
            guard before > 0, after < before else { exit(2) }
            // Code, constants and heap are as they were.
            guard kept.count == 10_000, kept[777] == "777", kept.sorted().first == "0" else { exit(3) }
            exit(0)
        }
    }
}
