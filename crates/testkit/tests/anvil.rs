//! The test node does what other tests rely on.

use std::path::{Path, PathBuf};

use serde_json::json;
use testkit::{Anvil, Emission, RpcFault, RpcProxy};

#[tokio::test]
async fn blocks_come_only_when_told_to_with_the_events_that_were_asked_for() {
    let anvil = Anvil::start().await.unwrap();
    assert_eq!(anvil.height().await.unwrap(), 0);
    let contracts = anvil.deploy(2).await.unwrap();
    assert_eq!(contracts.markets.len(), 2);
    for market in &contracts.markets {
        anvil
            .emit(&contracts, market, &Emission::EpochReleased { epoch: 3, begin: 30, end: 39 })
            .await
            .unwrap();
    }
    assert_eq!(anvil.height().await.unwrap(), 1);
    anvil.mine_at(2_000_000_000).await.unwrap();
    assert_eq!(anvil.block(2).await.unwrap().unwrap().2, 2_000_000_000);
    let filter = json!([{ "fromBlock": "0x2", "toBlock": "0x2" }]);
    let logs = anvil.request("eth_getLogs", filter).await.unwrap();
    let logs = logs.as_array().unwrap();
    assert_eq!(logs.len(), 2);
    for (log, market) in logs.iter().zip(&contracts.markets) {
        assert_eq!(log["address"], contracts.protocol_state.as_str());
        // keccak256("EpochReleased(address,uint256,uint256,uint256,uint256)")
        assert_eq!(log["topics"][0], "0xf7d2257d4a1c445138ab52bd3c22425bfed29da81d0173961c697dc14fcba60c");
        assert!(log["topics"][1].as_str().unwrap().ends_with(market.trim_start_matches("0x")));
        let data = [30, 39, 2_000_000_000_u64].map(|word| format!("{word:064x}")).concat();
        assert_eq!(log["data"], format!("0x{data}"));
    }
}

#[tokio::test]
async fn a_reorganisation_keeps_the_height_and_changes_hashes_but_not_those_of_a_copy() {
    let anvil = Anvil::start().await.unwrap();
    anvil.mine_many(5, 2).await.unwrap();
    let copy = anvil.copy().await.unwrap();
    anvil.reorganise(2).await.unwrap();
    assert_eq!(anvil.height().await.unwrap(), 5);
    for height in 0..=5 {
        let same = anvil.block(height).await.unwrap() == copy.block(height).await.unwrap();
        assert_eq!(same, height <= 3, "block {height}");
    }
    anvil.roll_back(2).await.unwrap();
    assert_eq!(anvil.height().await.unwrap(), 3);
}

fn files_below(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(files_below(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}

#[tokio::test]
async fn a_long_chain_leaves_no_files_and_can_still_be_read_and_reorganised() {
    let anvil = Anvil::start().await.unwrap();
    anvil.mine_many(1_200, 1).await.unwrap();
    let first = anvil.block(1).await.unwrap();
    anvil.roll_back(100).await.unwrap();
    anvil.mine_many(100, 2).await.unwrap();
    assert_eq!(anvil.height().await.unwrap(), 1_200);
    assert!(first.is_some() && anvil.block(1).await.unwrap() == first);
    let directory = anvil.dir().to_owned();
    assert_eq!(files_below(&directory).unwrap(), [directory.join("anvil.log")]);
    drop(anvil);
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_request_that_is_held_waits_until_it_is_let_go_and_others_pass() {
    let anvil = Anvil::start().await.unwrap();
    let proxy = RpcProxy::start(anvil.addr()).await.unwrap();
    let addr = proxy.url().trim_start_matches("http://").parse().unwrap();
    proxy.hold("eth_blockNumber");
    let ask = tokio::spawn(testkit::anvil::request(addr, "eth_blockNumber", json!([])));
    testkit::wait_until("it is held", std::time::Duration::from_secs(20), async || proxy.held() == 1).await;
    assert_eq!(testkit::anvil::request(addr, "eth_chainId", json!([])).await.unwrap(), "0x7a69");
    assert!(!ask.is_finished());
    proxy.release();
    assert_eq!(ask.await.unwrap().unwrap(), "0x0");
}

#[tokio::test]
async fn a_node_that_is_frozen_shows_nothing_above_its_height() {
    let anvil = Anvil::start_with(777).await.unwrap();
    anvil.mine_many(5, 1).await.unwrap();
    let proxy = RpcProxy::start(anvil.addr()).await.unwrap();
    proxy.set(RpcFault::Frozen(3));
    let addr = proxy.url().trim_start_matches("http://").parse().unwrap();
    let ask = async |tag: &str| {
        testkit::anvil::request(addr, "eth_getBlockByNumber", json!([tag, false])).await.unwrap()
    };
    assert_eq!(ask("latest").await["number"], "0x3");
    assert_eq!(ask("0x3").await["number"], "0x3");
    assert_eq!(ask("0x4").await, serde_json::Value::Null);
    assert_eq!(testkit::anvil::request(addr, "eth_chainId", json!([])).await.unwrap(), "0x309");
    proxy.clear();
    assert_eq!(ask("latest").await["number"], "0x5");
}

#[tokio::test]
async fn a_node_on_another_branch_has_other_blocks_from_its_height_on_and_lacks_the_real_ones() {
    let anvil = Anvil::start().await.unwrap();
    anvil.mine_many(5, 1).await.unwrap();
    let proxy = RpcProxy::start(anvil.addr()).await.unwrap();
    let lying = proxy.url().trim_start_matches("http://").parse().unwrap();
    let by_number = async |addr, number: &str| {
        testkit::anvil::request(addr, "eth_getBlockByNumber", json!([number, false])).await.unwrap()
    };
    let by_hash = async |hash: &serde_json::Value| {
        testkit::anvil::request(lying, "eth_getBlockByHash", json!([hash, false])).await.unwrap()
    };
    proxy.set(RpcFault::OtherBranch(4));
    let (mut real, mut other) = (Vec::new(), Vec::new());
    for number in ["0x3", "0x4", "latest"] {
        real.push(by_number(anvil.addr(), number).await);
        other.push(by_number(lying, number).await);
    }
    assert_eq!(other[0], real[0]);
    for at in [1, 2] {
        assert_ne!(other[at]["hash"], real[at]["hash"]);
        assert_eq!(
            (&other[at]["parentHash"], &other[at]["number"]),
            (&other[at - 1]["hash"], &real[at]["number"])
        );
        assert_eq!(by_hash(&other[at]["hash"]).await, other[at]);
        assert!(by_hash(&real[at]["hash"]).await.is_null());
    }
    assert_eq!(by_hash(&real[0]["hash"]).await, real[0]);
}
