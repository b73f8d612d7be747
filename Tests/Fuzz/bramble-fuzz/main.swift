import CFuzz
import FuzzTargets
import Glibc

// bramble-fuzz TARGET [libFuzzer's options]; without a target it lists them; “seeds TARGET FOLDER” writes the seeds.
let arguments = CommandLine.arguments
guard arguments.count > 1 else {
    for target in FuzzTarget.all { print(target.name) }
    exit(0)
}
if arguments[1] == "seeds", arguments.count == 4, let target = FuzzTarget.named(arguments[2]) {
    for (number, seed) in target.seeds().enumerated() {
        guard let file = fopen("\(arguments[3])/seed-\(number)", "w") else { exit(1) }
        fwrite(seed, 1, seed.count, file)
        fclose(file)
    }
    exit(0)
}
guard FuzzTarget.named(arguments[1]) != nil else {
    print("there is no fuzz target “\(arguments[1])”; without arguments they are listed")
    exit(2)
}

/// Which one this process runs.
let chosen = FuzzTarget.named(arguments[1])!

private func fuzzOne(_ data: UnsafePointer<UInt8>?, _ size: Int) -> Int32 {
    if let problem = chosen.check(Array(UnsafeBufferPointer(start: data, count: size))) { fatalError(problem) }
    return 0
}

var count = CommandLine.argc - 1
var rest: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv + 1
exit(LLVMFuzzerRunDriver(&count, &rest, fuzzOne))
