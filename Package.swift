// swift-tools-version: 6.2
// Read this file as the architecture: a target may import what it lists here and nothing else.
// ARCHITECTURE.md has the picture; Tests/ArchitectureTests holds the rules that SwiftPM cannot express.
import PackageDescription

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

func core(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(
        name: name, dependencies: dependencies, path: "Sources/Core/\(name)", swiftSettings: strict,
        linkerSettings: [.linkedLibrary("m")])
}
func platform(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, path: "Sources/Platform/\(name)", swiftSettings: strict)
}
func driver(_ name: String, _ dependencies: [Target.Dependency], excluding: [String] = []) -> Target {
    .target(
        name: name, dependencies: dependencies, path: "Sources/Drivers/\(name)", exclude: excluding,
        swiftSettings: strict)
}
func library(_ name: String, _ dependencies: [Target.Dependency], path: String) -> Target {
    .target(name: name, dependencies: dependencies, path: path, swiftSettings: strict)
}
func tool(
    _ name: String, _ dependencies: [Target.Dependency], path: String, excluding: [String] = []
) -> Target {
    .executableTarget(name: name, dependencies: dependencies, path: path, exclude: excluding, swiftSettings: strict)
}
func tests(
    _ name: String, _ dependencies: [Target.Dependency], resources: [Resource] = [], excluding: [String] = []
) -> Target {
    .testTarget(
        name: name, dependencies: dependencies, path: "Tests/\(name)", exclude: excluding, resources: resources,
        swiftSettings: strict)
}
func system(_ name: String, _ packages: String? = nil) -> Target {
    .systemLibrary(name: name, path: "Sources/C/\(name)", pkgConfig: packages)
}

let package = Package(
    name: "bramble",
    products: [
        .library(name: "BrambleAPI", targets: ["BrambleAPI"]),
        .library(name: "labclock", type: .dynamic, targets: ["LabClock"]),
    ],
    targets: [
        // Core decides: values in, effects out. No clock, socket, file, thread or ambient chance.
        core("Primitives"),
        core("Wire", ["Primitives"]),
        core("Membership", ["Primitives"]),
        core("Replication", ["Primitives", "Wire"]),
        core("Leases", ["Primitives", "Wire"]),
        core("Mirrors", ["Primitives"]),
        core("Services", ["Primitives"]),
        core("Balancers", ["Primitives", "Services"]),
        core("Volumes", ["Primitives", "Wire", "Services"]),
        core("Node", ["Primitives", "Wire", "Membership", "Leases", "Services"]),

        // Platform: thin Swift over the machine and its C libraries, shared by the drivers.
        platform("Logging"),
        platform("Reactor", ["Primitives", "CLinux"]),
        platform("Crypto", ["Primitives", "COpenSSL"]),
        platform("YAML", ["Primitives", "CFyaml"]),
        platform("Processes", ["Primitives", "Logging", "Reactor", "CLinux"]),
        platform("XML"),

        // Drivers do: one actor per outside thing. They never import each other.
        driver("Transport", ["Primitives", "Wire", "Logging", "Reactor", "Crypto", "CLinux"]),
        driver("Discovery", ["Primitives", "Logging", "Reactor", "CAvahi"]),
        driver("Storage", ["Primitives", "Wire", "Replication", "Logging", "Reactor", "CSQLite"]),
        driver("Machine", ["Primitives", "Logging", "Reactor", "Crypto", "CLinux"]),
        driver("Runners", ["Primitives", "Services", "Logging", "Reactor", "Processes", "XML", "CLinux"]),
        driver(
            "Engines",
            [
                "Primitives", "Wire", "Mirrors", "Balancers", "Volumes", "Services", "Logging", "Reactor", "Processes",
                "XML", "CLinux",
            ]),
        driver(
            "Web", ["Primitives", "BrambleAPI", "Logging", "Reactor", "CMicrohttpd"],
            excluding: ["Pages", "embed-pages"]),

        // The only public code.
        library("BrambleAPI", ["Primitives", "CCurl"], path: "Sources/API"),

        library(
            "Daemon",
            [
                "Primitives", "Wire", "Membership", "Leases", "Services", "Node", "Logging", "Reactor", "Crypto",
                "YAML",
                "Transport",
                "Discovery",
                "Machine", "Runners", "Engines", "Mirrors", "Balancers", "Volumes", "Processes", "Web", "BrambleAPI",
                "CLinux",
                "Replication",
                "Storage",
            ], path: "Sources/App/Daemon"),
        library("Importers", ["Primitives", "Services"], path: "Sources/App/Importers"),
        library("Inventory", ["Primitives", "BrambleAPI", "YAML"], path: "Sources/App/Inventory"),
        library("Commands", ["Primitives", "BrambleAPI", "Importers", "Inventory"], path: "Sources/App/Commands"),
        tool("bramble", ["Commands", "Daemon", "BrambleAPI", "Primitives"], path: "Sources/App/bramble"),

        library(
            "Simulator", ["Primitives", "Wire", "Membership", "Leases", "Node", "Replication", "Storage"],
            path: "Sources/Simulation/Simulator"),
        tool("bramble-sim", ["Simulator", "Leases", "Primitives"], path: "Sources/Simulation/bramble-sim"),

        // Lab: hosts made of namespaces, for tests, the demonstration and benchmarks.
        library("Lab", ["Primitives", "Reactor", "BrambleAPI", "CLinux", "CLab"], path: "Lab/Lab"),
        .target(name: "CLab", path: "Lab/CLab"),
        .target(name: "LabClock", path: "Lab/Clock"),
        tool("bramble-demo", ["Lab", "BrambleAPI"], path: "Lab/Demo"),
        tool("bramble-bench", ["Lab", "BrambleAPI"], path: "Benchmarks", excluding: ["mnesia_bench.erl"]),

        // C: headers only, nothing of ours is compiled. CCurl loads libcurl when the CLI first needs it.
        .target(name: "CLinux", path: "Sources/C/CLinux"),
        .target(name: "CCurl", path: "Sources/C/CCurl"),
        system("COpenSSL", "openssl"),
        system("CAvahi"),
        system("CMicrohttpd", "libmicrohttpd"),
        system("CFyaml", "libfyaml"),
        system("CSQLite", "sqlite3"),

        library(
            "WebTestSupport", ["Primitives", "BrambleAPI", "Reactor", "Web", "TestSupport"],
            path: "Tests/WebTestSupport"),
        library(
            "BrowserSupport", ["Primitives", "Web", "WebTestSupport", "TestSupport"], path: "Tests/BrowserSupport"),
        tests(
            "BrowserTests",
            ["Primitives", "BrambleAPI", "Reactor", "Web", "WebTestSupport", "BrowserSupport", "TestSupport"]),
        tests("WebTests", ["Primitives", "BrambleAPI", "Reactor", "Web", "WebTestSupport", "TestSupport"]),
        tests("PrimitivesTests", ["Primitives", "Wire"]),
        tests("MembershipTests", ["Primitives", "Wire", "Membership", "Node"]),
        tests("ReactorTests", ["Reactor", "Primitives"]),
        tests(
            "DaemonTests",
            ["Daemon", "BrambleAPI", "Crypto", "Leases", "Machine", "Membership", "Node", "Primitives", "Services"]),
        tests("LeasesTests", ["Leases", "Simulator", "Primitives", "Wire"], resources: [.copy("seeds.txt")]),
        tests("MirrorsTests", ["Mirrors", "Primitives"]),
        tests(
            "EnginesTests",
            [
                "Engines", "Mirrors", "Primitives", "Wire", "Reactor", "Crypto", "Transport", "CLinux", "TestSupport",
                "mirror-channel",
            ]),
        tool("mirror-channel", ["Engines"], path: "Tests/MirrorChannel"),
        tests("NodeTests", ["Node", "Membership", "Leases", "Services", "Primitives", "Wire"]),
        tests("YAMLTests", ["YAML"]),
        tests("ReplicationTests", ["Replication", "Primitives", "Wire"]),
        tests("StorageTests", ["Storage", "Replication", "Primitives", "Wire", "CSQLite"]),
        tests("ImportersTests", ["Importers", "Services", "Primitives", "YAML"], excluding: ["Golden"]),
        tests("InventoryTests", ["Inventory", "BrambleAPI", "Primitives"]),
        tests("BalancersTests", ["Balancers", "Services", "Primitives"]),
        tests("VolumesTests", ["Volumes", "Services", "Engines", "Primitives", "Wire", "TestSupport"]),
        tests("ServicesTests", ["Services", "Primitives", "YAML"], excluding: ["Scenarios"]),
        tests("CryptoTests", ["Primitives", "Crypto"]),
        library(
            "FuzzTargets",
            [
                "Primitives", "Wire", "Crypto", "Membership", "Node", "Transport", "Discovery", "Machine", "Runners",
                "YAML", "BrambleAPI", "Web", "Replication", "Storage", "Leases", "Services", "Importers", "Inventory",
                "Processes", "Engines", "Mirrors", "Volumes", "XML",
            ],
            path: "Tests/Fuzz/Targets"),
        tests("FuzzTests", ["FuzzTargets", "Primitives"]),
        tests("TransportTests", ["Primitives", "Wire", "Crypto", "Reactor", "Transport", "CLinux"]),
        tests(
            "CommandsTests", ["Commands", "BrambleAPI", "Primitives", "Reactor", "bramble", "TestSupport"],
            excluding: ["Golden"]),
        tests(
            "SimulationTests", ["Simulator", "Primitives", "Membership", "Node", "Storage", "Replication"],
            resources: [.copy("seeds.txt")]),
        tests("MachineTests", ["Machine", "Primitives", "Reactor", "CLinux", "TestSupport"]),
        tests(
            "RunnersTests",
            ["Runners", "Processes", "Services", "Primitives", "Reactor", "CLinux", "TestSupport", "runners-stage"]),
        tool(
            "runners-stage", ["Runners", "Processes", "Services", "Primitives", "Reactor"], path: "Tests/RunnersStage"),
        tests("DiscoveryTests", ["Discovery", "Primitives", "Reactor", "TestSupport"]),
        tests(
            "TakeoverTests",
            ["Machine", "Lab", "Primitives", "Reactor", "CLinux", "TestSupport", "takeover-host"]),
        tool("takeover-host", ["Machine", "Primitives", "Reactor", "CLinux"], path: "Tests/TakeoverHost"),
        library("TestSupport", ["Reactor", "CLinux"], path: "Tests/TestSupport"),
        tests("ArchitectureTests", []),
        tests("LabTests", ["Lab", "Primitives", "BrambleAPI", "BrowserSupport", "bramble", "bramble-demo"]),
    ]
)

// The fuzzer needs compiler flags and a build folder of its own: Tests/Fuzz/run.sh asks for it.
if Context.environment["BRAMBLE_FUZZ"] != nil {
    package.targets += [
        .target(name: "CFuzz", path: "Tests/Fuzz/CFuzz"),
        tool("bramble-fuzz", ["CFuzz", "FuzzTargets"], path: "Tests/Fuzz/bramble-fuzz"),
    ]
}

// One target and what it needs, for a quick loop while working on it: make quick T=MachineTests
if let only = Context.environment["BRAMBLE_ONLY"] {
    var wanted = Set(only.split(separator: ",").map { String($0) })
    var isComplete = false
    while !isComplete {
        let needed = package.targets.filter { wanted.contains($0.name) }.flatMap(\.dependencies).compactMap {
            dependency in
            if case .byNameItem(let name, _) = dependency { name } else { nil }
        }
        isComplete = wanted.isSuperset(of: needed)
        wanted.formUnion(needed)
    }
    package.targets.removeAll { !wanted.contains($0.name) }
    package.products = []
}
