// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// What the tests and the demo follow: emits the events of the real protocol state on demand, and answers its views.
/// One contract plays all three parts: protocol state, priorities, and (DataMarket below) the markets.
contract ProtocolState {
    event EpochReleased(
        address indexed dataMarketAddress, uint256 indexed epochId, uint256 begin, uint256 end, uint256 timestamp
    );
    event SnapshotBatchSubmitted(
        address indexed dataMarketAddress, string batchCid, uint256 indexed epochId, uint256 timestamp
    );
    event SnapshotBatchFinalized(
        address indexed dataMarketAddress, uint256 indexed epochId, string indexed batchCid, uint256 timestamp
    );
    event BatchSubmissionsCompleted(address indexed dataMarketAddress, uint256 indexed epochId, uint256 timestamp);
    event DayStartedEvent(address indexed dataMarketAddress, uint256 dayId, uint256 timestamp);
    event PrioritiesAssigned(
        address indexed dataMarket, uint256 indexed epochId, uint256 seed, uint256 timestamp, uint256 validatorCount
    );
    /// An event that nobody knows, for readers that must ignore it.
    event Unknown(address indexed dataMarketAddress, uint256 indexed epochId);

    mapping(address => uint256) public snapshotSubmissionWindow;
    mapping(address => uint256) public DAY_SIZE;
    mapping(address => uint256) public dailySnapshotQuota;
    mapping(address => uint256) public dayCounter;
    mapping(address => uint256) public epochsInADay;
    mapping(address => mapping(uint256 => mapping(uint256 => uint256))) public slotSubmissionCount;
    uint256 public getTotalNodeCount;

    /// Window in seconds, size of a day in microseconds.
    function setMarket(address market, uint256 window, uint256 daySize, uint256 quota, uint256 day, uint256 epochs)
        external
    {
        snapshotSubmissionWindow[market] = window;
        DAY_SIZE[market] = daySize;
        dailySnapshotQuota[market] = quota;
        dayCounter[market] = day;
        epochsInADay[market] = epochs;
    }

    function setSlotSubmissionCount(address market, uint256 slot, uint256 day, uint256 count) external {
        slotSubmissionCount[market][slot][day] = count;
    }

    function setTotalNodeCount(uint256 count) external {
        getTotalNodeCount = count;
    }

    function releaseEpoch(address market, uint256 epoch, uint256 begin, uint256 end) external {
        emit EpochReleased(market, epoch, begin, end, block.timestamp);
    }

    function submitBatch(address market, string calldata batchCid, uint256 epoch) external {
        emit SnapshotBatchSubmitted(market, batchCid, epoch, block.timestamp);
    }

    function finalizeBatch(address market, uint256 epoch, string calldata batchCid) external {
        emit SnapshotBatchFinalized(market, epoch, batchCid, block.timestamp);
    }

    function completeSubmissions(address market, uint256 epoch) external {
        emit BatchSubmissionsCompleted(market, epoch, block.timestamp);
    }

    function startDay(address market, uint256 day) external {
        dayCounter[market] = day;
        emit DayStartedEvent(market, day, block.timestamp);
    }

    function assignPriorities(address market, uint256 epoch, uint256 seed, uint256 validators) external {
        emit PrioritiesAssigned(market, epoch, seed, block.timestamp, validators);
    }

    function emitUnknown(address market, uint256 epoch) external {
        emit Unknown(market, epoch);
    }

    /// A log of any form, with up to four topics, for readers that must survive it.
    function emitRaw(bytes32[] calldata topics, bytes calldata data) external {
        bytes memory copy = data;
        uint256 count = topics.length;
        bytes32 a = count > 0 ? topics[0] : bytes32(0);
        bytes32 b = count > 1 ? topics[1] : bytes32(0);
        bytes32 c = count > 2 ? topics[2] : bytes32(0);
        bytes32 d = count > 3 ? topics[3] : bytes32(0);
        assembly ("memory-safe") {
            let start := add(copy, 32)
            let size := mload(copy)
            switch count
            case 0 { log0(start, size) }
            case 1 { log1(start, size, a) }
            case 2 { log2(start, size, a, b) }
            case 3 { log3(start, size, a, b, c) }
            default { log4(start, size, a, b, c, d) }
        }
    }

    /// `count` releases in one block, for load.
    function releaseMany(address market, uint256 first, uint256 count) external {
        for (uint256 i = 0; i < count; i++) {
            emit EpochReleased(market, first + i, i, i + 1, block.timestamp);
        }
    }
}

/// The one view of a data market that is read.
contract DataMarket {
    mapping(uint256 => uint256) public eligibleNodesForDay;

    function setEligibleNodes(uint256 day, uint256 count) external {
        eligibleNodesForDay[day] = count;
    }
}
