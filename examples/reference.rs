//! Writes the generated pages into the repository: `make docs`.

use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in state_tracker::reference::pages() {
        let file = repository.join(page.path);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        if fs::read_to_string(&file).is_ok_and(|text| text == page.text) {
            continue;
        }
        fs::write(&file, page.text)?;
        println!("{} is new", page.path);
    }
    Ok(())
}
