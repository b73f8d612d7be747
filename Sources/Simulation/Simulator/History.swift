import Primitives

/// What was wrong with machines and links, and when: the truth that verdicts are judged by.
struct History {
    enum Trouble: Hashable {
        case off(Int), paused(Int), unplugged(Int), cut(from: Int, to: Int), divided([Int]), storm
        /// Hears less than it should, is heard less: wholly, or in part.
        case deaf(Int, wholly: Bool), mute(Int, wholly: Bool)
    }
    private struct Spell {
        var trouble: Trouble
        var since: TrueTime
        var until: TrueTime?
    }
    /// Longer than any window that is asked for.
    private static let memory = Duration.seconds(20)
    private var current: [Trouble: TrueTime] = [:]
    private var past: [Spell] = []

    mutating func begin(_ trouble: Trouble, at now: TrueTime) {
        if current[trouble] == nil { current[trouble] = now }
    }
    mutating func end(_ trouble: Trouble, at now: TrueTime) {
        guard let since = current.removeValue(forKey: trouble) else { return }
        past.append(Spell(trouble: trouble, since: since, until: now))
        if past.count > 256 { past.removeAll { $0.until.map { $0 < now - Self.memory } ?? false } }
    }
    mutating func endAll(at now: TrueTime, where isOver: (Trouble) -> Bool) {
        // The order in which spells end at one moment is never seen: windows only ask whether one overlaps.
        for trouble in current.keys where isOver(trouble) { end(trouble, at: now) }
    }
    func isNow(_ trouble: Trouble) -> Bool { current[trouble] != nil }

    /// All that happened between two moments, ready to be asked about pairs of machines.
    func window(from start: TrueTime, to end: TrueTime) -> Window {
        var window = Window()
        for (trouble, since) in current where since <= end { window.add(trouble, covers: since <= start) }
        for spell in past {
            if let until = spell.until, until >= start, spell.since <= end {
                window.add(spell.trouble, covers: spell.since <= start && until >= end)
            }
        }
        return window
    }

    struct Window {
        private var absent: Set<Int> = []
        private var unplugged: Set<Int> = []
        /// Bad at some moment, and bad all the time.
        private var touched = Badness()
        private var covered = Badness()

        private struct Badness {
            private var deaf: Set<Int> = []
            private var mute: Set<Int> = []
            private var cuts: Set<[Int]> = []
            private var divisions: [[Int]] = []
            private var everywhere = false

            func includes(from source: Int, to target: Int) -> Bool {
                everywhere || mute.contains(source) || deaf.contains(target) || cuts.contains([source, target])
                    || divisions.contains { $0[source] != $0[target] }
            }
            mutating func add(_ trouble: Trouble) {
                switch trouble {
                case .off, .paused: break
                case .unplugged(let machine):
                    deaf.insert(machine)
                    mute.insert(machine)
                case .deaf(let machine, _): deaf.insert(machine)
                case .mute(let machine, _): mute.insert(machine)
                case .cut(let source, let target): cuts.insert([source, target])
                case .divided(let groups): divisions.append(groups)
                case .storm: everywhere = true
                }
            }
        }
        fileprivate mutating func add(_ trouble: Trouble, covers: Bool) {
            switch trouble {
            case .off(let machine), .paused(let machine): absent.insert(machine)
            case .unplugged(let machine) where covers: unplugged.insert(machine)
            default: break
            }
            touched.add(trouble)
            switch trouble {
            case .deaf(_, wholly: false), .mute(_, wholly: false), .storm: break  // now and then a word gets through
            default: if covers { covered.add(trouble) }
            }
        }

        /// It ran all the time, never paused.
        func ranThroughout(_ machine: Int) -> Bool { !absent.contains(machine) }
        func wasUnpluggedThroughout(_ machine: Int) -> Bool { unplugged.contains(machine) }
        /// Both ways, all the time.
        func wasGood(_ a: Int, _ b: Int) -> Bool {
            !touched.includes(from: a, to: b) && !touched.includes(from: b, to: a)
        }
        /// This way, at one moment at least.
        func wasEverGood(from source: Int, to target: Int) -> Bool { !covered.includes(from: source, to: target) }
    }
}
